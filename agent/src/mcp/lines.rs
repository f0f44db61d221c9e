//! Lines of a stream that may never end one.

use std::io::{self, BufRead};

/// The longest message, in bytes.
pub const LINE_MAX: usize = 16 << 20;

/// What a stream gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line, without its end.
    Whole(Vec<u8>),
    /// A line that was longer than allowed; it was skipped to its end, and not kept.
    TooLong,
}

/// The next line, of at most `max` bytes; none at the stream's end.
pub fn next(reader: &mut impl BufRead, max: usize) -> io::Result<Option<Line>> {
    let (mut line, mut too_long, mut any) = (Vec::new(), false, false);
    loop {
        let buffer = match reader.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if buffer.is_empty() {
            return Ok(any.then(|| finish(line, too_long)));
        }
        any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        too_long |= line.len() + part.len() > max;
        if too_long {
            line = Vec::new();
        } else {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            return Ok(Some(finish(line, too_long)));
        }
    }
}

fn finish(line: Vec<u8>, too_long: bool) -> Line {
    if too_long { Line::TooLong } else { Line::Whole(line) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8], max: usize, buffer: usize) -> Vec<Line> {
        let mut reader = io::BufReader::with_capacity(buffer, bytes);
        std::iter::from_fn(|| next(&mut reader, max).unwrap()).collect()
    }

    #[test]
    fn long_lines_are_skipped_and_the_next_is_read() {
        let whole = |text: &str| Line::Whole(text.into());
        assert_eq!(all(b"ab\nabcd\n\nx", 3, 2), [whole("ab"), Line::TooLong, whole(""), whole("x")]);
        assert_eq!(all(b"", 3, 2), []);
        assert_eq!(all(b"abcdef", 3, 2), [Line::TooLong]);
    }

    #[test]
    fn a_line_that_never_ends_takes_no_memory() {
        let mut reader = io::BufReader::new(io::Read::take(io::repeat(b'x'), 1 << 26));
        assert_eq!(next(&mut reader, 1 << 10).unwrap(), Some(Line::TooLong));
        assert_eq!(next(&mut reader, 1 << 10).unwrap(), None);
    }

    proptest! {
        #[test]
        fn lines_are_those_of_the_bytes(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200),
                                        max in 0usize..20, buffer in 1usize..9) {
            let mut expected: Vec<_> = bytes.split(|byte| *byte == b'\n').collect();
            if expected.last().is_some_and(|last| last.is_empty()) {
                expected.pop();
            }
            let expected: Vec<_> =
                expected.into_iter().map(|line| finish(line.to_vec(), line.len() > max)).collect();
            prop_assert_eq!(all(&bytes, max, buffer), expected);
        }
    }
}
