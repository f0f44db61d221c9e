//! Names that a policy looks for anywhere in a path, such as `.ssh`. No prefix tells whether a path has one, so
//! each group of them is a bit beside the path: an enforcement point sets it if a name of the group occurs.
//!
//! A bit that is not set settles every test for names of its group; one that is set settles nothing.

use std::collections::{BTreeMap, BTreeSet};

/// Groups there is room for.
const GROUPS: usize = 8;

/// The longest name that enforcement points look for, in bytes.
pub const NAME_MAX: usize = 27;

/// The names of a policy that enforcement points look for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    groups: Vec<BTreeSet<String>>,
    bits: BTreeMap<Vec<u8>, u8>,
}

impl Names {
    /// Of the groups that a policy tests together. Where there are too many, the last ones share a bit.
    pub fn new(groups: impl IntoIterator<Item = BTreeSet<String>>) -> Self {
        let fits = |name: &String| {
            !name.is_empty()
                && name.len() <= NAME_MAX
                && !name.contains(['/', '\\', '\0'])
                && name != "."
                && name != ".."
        };
        let mut distinct: BTreeSet<BTreeSet<String>> = groups.into_iter().collect();
        distinct.retain(|group| !group.is_empty() && group.iter().all(fits));
        let mut groups: Vec<BTreeSet<String>> = Vec::new();
        for group in distinct {
            match groups.len() {
                GROUPS => groups[GROUPS - 1].extend(group),
                _ => groups.push(group),
            }
        }
        let mut bits = BTreeMap::<Vec<u8>, u8>::new();
        for (index, group) in groups.iter().enumerate() {
            for name in group {
                *bits.entry(name.clone().into_bytes()).or_default() |= 1 << index;
            }
        }
        Self { groups, bits }
    }

    /// Each name with the bits of its groups.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u8)> {
        self.bits.iter().map(|(name, bits)| (name.as_slice(), *bits))
    }

    /// The groups of which a name occurs in the path.
    pub fn mask(&self, path: &[u8]) -> u8 {
        if self.bits.is_empty() {
            return 0;
        }
        path.split(|byte| *byte == b'/')
            .filter_map(|name| self.bits.get(name))
            .fold(0, |all, bits| all | bits)
    }

    /// The bit of a group that has all of the names.
    pub(super) fn covering<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Option<u8> {
        let names: Vec<&str> = names.into_iter().collect();
        let covers = |group: &BTreeSet<String>| names.iter().all(|name| group.contains(*name));
        self.groups.iter().position(covers).map(|index| 1 << index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(groups: &[&[&str]]) -> Names {
        Names::new(groups.iter().map(|group| group.iter().map(|name| (*name).to_owned()).collect()))
    }

    #[test]
    fn a_path_shows_the_groups_whose_names_it_has() {
        let names = names(&[&[".aws", ".ssh"], &[".ssh", "secrets"]]);
        assert_eq!(names.mask(b"/home/x/.aws/y"), 1);
        assert_eq!(names.mask(b"/home/.ssh"), 3);
        assert_eq!(names.mask(b"/home/.sshx/xsecrets"), 0);
        assert_eq!(names.covering([".ssh", "secrets"]), Some(2));
        assert_eq!(names.covering([".aws", "secrets"]), None);
    }

    #[test]
    fn what_cannot_be_looked_for_makes_no_group() {
        for name in ["", ".", "..", "a/b", "a\\b", &"x".repeat(28)] {
            assert_eq!(names(&[&[name, "ok"]]).iter().count(), 0, "{name:?}");
        }
    }

    #[test]
    fn groups_beyond_the_room_share_a_bit() {
        let many: Vec<[String; 1]> = (0..12).map(|number| [format!("n{number:02}")]).collect();
        let names = Names::new(many.iter().map(|group| group.iter().cloned().collect()));
        assert_eq!(names.groups.len(), GROUPS);
        assert_eq!(names.mask(b"/n07"), names.mask(b"/n11"));
        assert_eq!(names.covering(["n11"]), Some(1 << 7));
    }
}
