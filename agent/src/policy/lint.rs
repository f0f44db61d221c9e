//! lint
use super::ast::Program;
use super::bundle::Bundle;
use super::error::Finding;
use regorus::unstable::{Module, Ref};
pub(super) fn check(_: &Program, _: &[Ref<Module>], _: &Bundle) -> Vec<Finding> {
    Vec::new()
}
