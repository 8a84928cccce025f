//! The machinery of a daemon: listeners, signals, privileges, the service manager.

pub mod accept;
pub mod background;
pub mod listen;
pub mod notify;
pub mod privileges;
pub mod signals;
pub mod stream;
