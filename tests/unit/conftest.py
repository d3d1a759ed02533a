from hypothesis import settings

# The laws are judged by what they find, not by how long this machine takes for one example.
settings.register_profile("laws", settings.default, deadline=None)
settings.load_profile("laws")
