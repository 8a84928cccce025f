//! The `postrider-milter` program.
fn main() {}
