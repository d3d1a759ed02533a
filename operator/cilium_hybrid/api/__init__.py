"""The API: the resource, its status, conditions and events, and chart versions. Types and schemas, no decisions."""
