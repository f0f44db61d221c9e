//! authz.
fn main() {}
