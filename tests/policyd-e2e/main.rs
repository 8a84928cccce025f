//! End to end: a real Postfix asks our policy service, and the service alone under load, killed, and short of what it
//! needs.

mod bounds;
mod crash;
mod exact;
mod postfix;
