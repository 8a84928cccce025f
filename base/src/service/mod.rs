//! The machinery of a daemon: listeners, signals, privileges, the service manager.

pub mod accept;
pub mod background;
pub mod descriptors;
pub mod exposition;
pub mod listen;
pub mod notify;
pub mod privileges;
pub mod signals;
pub mod stream;

/// The host's own name, as gethostname(2) has it; `None` when it has none or one that is no text.
#[must_use]
pub fn host_name() -> Option<String> {
    nix::unistd::gethostname().ok()?.into_string().ok()
}
