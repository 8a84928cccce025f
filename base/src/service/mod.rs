//! The machinery of a daemon: listeners, signals, privileges, the service manager.
