"""Reasons of Events that are not reasons of conditions, from which docs/conditions.md is generated."""

from cilium_hybrid.api.conditions import Documented


class EventReason(Documented):
    """Reason of an Event that reports the outcome of a change. Members are only ever added, never renamed."""

    INSTALL_SUCCEEDED = "InstallSucceeded", "Cilium is installed and runs on every connected hybrid node."
    INSTALL_FAILED = "InstallFailed", "Helm could not install Cilium."
    CONFIGURE_SUCCEEDED = "ConfigureSucceeded", "The new configuration runs on every connected hybrid node."
    CONFIGURE_FAILED = "ConfigureFailed", "Helm could not apply the new configuration, or updated agents failed."
    UPGRADE_SUCCEEDED = "UpgradeSucceeded", "The new version runs on every connected hybrid node."
    UPGRADE_FAILED = "UpgradeFailed", "Helm could not apply the new version, or updated agents failed."
    ROLLBACK_SUCCEEDED = "RollbackSucceeded", "The last verified revision was restored."
    ROLLBACK_FAILED = "RollbackFailed", "Helm could not roll back."
