//! What one evaluation finds out about the resource: how many leading bits of its name settle every test.
//!
//! The predicates say what they tested. A name that agrees in the settled bits comes out the same in each test,
//! takes the same way through the policy and gets the same decision. So a verdict holds for a region, which is
//! a prefix in bits; what a test excludes is outside of it, and nothing has to be cut out of a region.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;

use super::names::Names;

/// What settles the tests of one evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Region {
    /// Leading bits of the name `input.resource.id` with a NUL behind it.
    pub id_bits: usize,
    /// Leading bits of the address `input.resource.properties.ip`.
    pub ip_bits: usize,
    /// No prefix settles them: the verdict holds for this name alone.
    pub exact: bool,
}

/// A text that follows from the resource's name by cutting off its beginning.
struct Derived {
    text: String,
    /// Bytes that were cut off.
    cut: usize,
}

#[derive(Default)]
struct Recorder {
    /// The name and what was derived from it; the first is the name itself.
    names: Vec<Derived>,
    ip: Option<String>,
    region: Region,
    groups: Arc<Names>,
    /// Which groups of names occur in the path; none: it is no path.
    mask: Option<u8>,
}

thread_local! {
    static RECORDER: RefCell<Recorder> = RefCell::default();
}

/// Starts to record an evaluation about this resource.
pub(super) fn begin(id: Option<&str>, ip: Option<&str>, groups: &Arc<Names>) {
    let mask = id.filter(|id| id.starts_with('/')).map(|id| groups.mask(id.as_bytes()));
    let names = id.map(|id| Derived { text: id.to_owned(), cut: 0 }).into_iter().collect();
    // Where a byte is no text, the text has `\xNN`: another name may read alike.
    let region = Region { exact: id.is_some_and(|id| id.contains('\\')), ..Region::default() };
    RECORDER.set(Recorder { names, ip: ip.map(str::to_owned), region, groups: groups.clone(), mask });
}

/// What the evaluation since [`begin`] has come to.
pub(super) fn region() -> Region {
    RECORDER.with_borrow(|recorder| recorder.region)
}

/// A test whether `text` begins with `prefix`.
pub(super) fn prefix(text: &str, prefix: &str) {
    compared(text, prefix, prefix.len() * 8);
}

/// A test whether `text` is `other`.
pub(super) fn exact(text: &str, other: &str) {
    compared(text, other, other.len() * 8 + 8);
}

/// A test whether `text` is `directory`, which has no slash at its end, or lies below it.
pub(super) fn directory(text: &str, directory: &str) {
    if text == directory && !text.is_empty() {
        return exact(text, directory);
    }
    with(text, |recorder, cut| {
        if directory.contains('\\') {
            recorder.region.exact = true;
            return;
        }
        // `directory` and `directory/` part at the same place, but for the bits in which NUL and `/` differ.
        let same = text.bytes().zip(directory.bytes()).take_while(|(a, b)| a == b).count();
        let at = |index: usize| text.as_bytes().get(index).copied().unwrap_or(0);
        let bits = match directory.as_bytes().get(same) {
            Some(byte) => same * 8 + (at(same) ^ byte).leading_zeros() as usize + 1,
            None => same * 8 + 8,
        };
        recorder.region.id_bits = recorder.region.id_bits.max(cut * 8 + bits);
    });
}

/// A test whether `path` lies below the directory that `text` names, perhaps with a slash at its end.
pub(super) fn ancestor(text: &str, path: &str) {
    // It does if the text is the beginning of the path before one of its slashes, or the path itself.
    let slashes = path.match_indices('/').map(|(index, _)| index);
    for end in slashes.chain([path.len()]) {
        exact(text, &path[..end]);
        exact(text, &format!("{}/", &path[..end]));
    }
}

/// Whether a text is the resource's name or follows from it.
pub(super) fn is_name(text: &str) -> bool {
    RECORDER.with_borrow(|recorder| recorder.names.iter().any(|name| name.text == text))
}

/// A test that only the whole text settles.
pub(super) fn whole(text: &str) {
    with(text, |recorder, _| recorder.region.exact = true);
}

/// `rest` was made from `text` by cutting off its beginning, for which `text` had to begin as it does.
pub(super) fn cut(text: &str, rest: &str) {
    with(text, |recorder, cut| {
        let cut = cut + text.len() - rest.len();
        recorder.region.id_bits = recorder.region.id_bits.max(cut * 8);
        recorder.names.push(Derived { text: rest.to_owned(), cut });
    });
}

/// A test that came out false since none of `names` is in the path, if that is so; else nothing is said.
pub(super) fn absent<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> bool {
    RECORDER.with_borrow(|recorder| {
        let Some(mask) = recorder.mask else { return false };
        recorder.names.iter().any(|name| name.text == text && name.cut == 0)
            && recorder.groups.covering(names).is_some_and(|group| mask & group == 0)
    })
}

/// A test of the address against a block of so many bits, in which `of` lies.
pub(super) fn block(address: &str, of: IpAddr, length: u32) {
    RECORDER.with_borrow_mut(|recorder| {
        if recorder.ip.as_deref() != Some(address) {
            return;
        }
        let same = match (address.parse(), of) {
            (Ok(IpAddr::V4(a)), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            (Ok(IpAddr::V6(a)), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            // Of which family an address is, is not in question.
            (Ok(_), _) => return,
            (Err(_), _) => return recorder.region.exact = true,
        };
        let bits = length.min(same + 1) as usize;
        recorder.region.ip_bits = recorder.region.ip_bits.max(bits);
    });
}

/// `text` was compared with `other` as far as `most` bits.
fn compared(text: &str, other: &str, most: usize) {
    with(text, |recorder, cut| {
        if other.contains('\\') {
            recorder.region.exact = true;
            return;
        }
        let same = common_bits(text.as_bytes(), other.as_bytes());
        let bits = cut * 8 + most.min(same + 1);
        recorder.region.id_bits = recorder.region.id_bits.max(bits);
    });
}

/// Does it where the text is the resource's name or follows from it.
fn with(text: &str, record: impl FnOnce(&mut Recorder, usize)) {
    RECORDER.with_borrow_mut(|recorder| {
        if let Some(cut) = recorder.names.iter().find(|name| name.text == text).map(|name| name.cut) {
            record(recorder, cut);
        }
    });
}

/// How many leading bits two texts have in common, each with a NUL behind it.
fn common_bits(a: &[u8], b: &[u8]) -> usize {
    let at = |text: &[u8], index: usize| text.get(index).copied().unwrap_or(0);
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    same * 8 + (at(a, same) ^ at(b, same)).leading_zeros() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(id: &str, tests: impl FnOnce()) -> Region {
        begin(Some(id), None, &Arc::default());
        tests();
        region()
    }

    #[test]
    fn bits_in_common() {
        assert_eq!(common_bits(b"/a", b"/a"), 24, "with the NUL");
        assert_eq!(common_bits(b"/a", b"/b"), 8 + 6);
        assert_eq!(common_bits(b"/a", b"/a/"), 16 + 2);
        assert_eq!(common_bits(b"", b"\x80"), 0);
    }

    #[test]
    fn a_test_that_is_false_ends_at_the_first_bit_that_differs() {
        assert_eq!(recorded("/usr/x", || prefix("/usr/x", "/prod/")).id_bits, 8 + 5 + 1);
        assert_eq!(recorded("/usr/x", || prefix("/usr/x", "/usr/y")).id_bits, 5 * 8 + 8);
        assert_eq!(recorded("/usr", || exact("/usr", "/usr/y")).id_bits, 4 * 8 + 3);
    }

    #[test]
    fn a_test_that_is_true_needs_all_of_it() {
        assert_eq!(recorded("/usr/x", || prefix("/usr/x", "/usr/")).id_bits, 40);
        assert_eq!(recorded("/usr/x", || exact("/usr/x", "/usr/x")).id_bits, 56);
        assert_eq!(recorded("/usr/x", || prefix("/usr/x", "")).id_bits, 0);
    }

    #[test]
    fn texts_that_are_not_the_name_say_nothing() {
        assert_eq!(recorded("/usr/x", || prefix("/etc/x", "/etc/")), Region::default());
    }

    #[test]
    fn what_is_cut_off_counts() {
        let region = recorded("unix:/run/x", || {
            cut("unix:/run/x", "/run/x");
            prefix("/run/x", "/run/");
        });
        assert_eq!(region.id_bits, 80);
    }

    #[test]
    fn a_backslash_may_stand_for_a_byte() {
        assert!(recorded("/a\\x", || ()).exact);
        assert!(recorded("/a", || prefix("/a", "/a\\xff")).exact);
    }

    #[test]
    fn addresses_by_their_leading_bits() {
        let bits = |address: &str, block_: &str, length| {
            begin(Some("tcp://x"), Some(address), &Arc::default());
            block(address, block_.parse().unwrap(), length);
            region().ip_bits
        };
        assert_eq!(bits("10.1.2.3", "10.0.0.0", 8), 8);
        assert_eq!(bits("11.1.2.3", "10.0.0.0", 8), 8);
        assert_eq!(bits("192.0.2.1", "10.0.0.0", 8), 1);
        assert_eq!(bits("fe80::1", "10.0.0.0", 8), 0);
        assert_eq!(bits("fe80::1", "fd00::", 8), 7);
    }
}
