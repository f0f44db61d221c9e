//! Streams of events, taken apart and put together (the HTML standard's text/event-stream).

use std::collections::VecDeque;

/// A stream that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {0} bytes")]
pub struct TooLong(usize);

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// What a client resumes from.
    id: Option<String>,
    name: Option<String>,
    retry: Option<String>,
    data: Option<String>,
}

impl Event {
    /// Whether a client that is cut off can come for what follows.
    pub fn resumable(&self) -> bool {
        self.id.is_some()
    }

    /// The message in it; none: it only tells an id, or to try again later.
    pub fn message(&self) -> Option<&str> {
        self.data
            .as_deref()
            .filter(|data| !data.is_empty() && matches!(self.name.as_deref(), None | Some("message")))
    }

    /// The same event with another message.
    pub fn with(&self, line: &[u8]) -> Self {
        let data = String::from_utf8_lossy(line).into_owned();
        Self { data: Some(data), ..self.clone() }
    }

    /// An event of the gate's own.
    pub fn own(line: &[u8]) -> Self {
        Self { name: Some("message".into()), ..Self::default() }.with(line)
    }

    /// As it is sent.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = String::new();
        for (field, value) in [("event", &self.name), ("id", &self.id), ("retry", &self.retry)] {
            if let Some(value) = value {
                text += &format!("{field}: {value}\n");
            }
        }
        // A line's end within JSON is space: a string has none.
        for line in self.data.iter().flat_map(|data| data.split(['\n', '\r'])) {
            text += &format!("data: {line}\n");
        }
        text.push('\n');
        text.into_bytes()
    }
}

/// Events of a stream that comes in parts.
#[derive(Debug, Default)]
pub struct Events {
    line: Vec<u8>,
    /// The last byte was a carriage return, whose line feed may follow.
    returned: bool,
    begun: bool,
    size: usize,
    event: Event,
    ready: VecDeque<Event>,
}

impl Events {
    /// The next part of the stream. No event may be longer than `max` bytes.
    pub fn push(&mut self, part: &[u8], max: usize) -> Result<(), TooLong> {
        for byte in part {
            match (byte, std::mem::take(&mut self.returned)) {
                (b'\n', true) => {}
                (b'\n', false) => self.line_ends(),
                (b'\r', _) => {
                    self.returned = true;
                    self.line_ends();
                }
                (byte, _) => {
                    self.line.push(*byte);
                    self.size += 1;
                    if self.size > max {
                        return Err(TooLong(max));
                    }
                }
            }
        }
        Ok(())
    }

    /// The next event that is whole.
    pub fn next(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    fn line_ends(&mut self) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            self.size = 0;
            if event != Event::default() {
                self.ready.push_back(event);
            }
            return;
        }
        let text = String::from_utf8_lossy(&line).into_owned();
        let text = if std::mem::replace(&mut self.begun, true) {
            &text
        } else {
            text.trim_start_matches('\u{feff}')
        };
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => match &mut self.event.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                none => *none = Some(value.to_owned()),
            },
            "id" => self.event.id = Some(value.to_owned()),
            "event" => self.event.name = Some(value.to_owned()),
            "retry" => self.event.retry = Some(value.to_owned()),
            // Comments, which keep connections alive, and what nobody knows.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(text: &str, step: usize) -> Vec<Event> {
        let mut events = Events::default();
        for part in text.as_bytes().chunks(step) {
            events.push(part, 1000).unwrap();
        }
        std::iter::from_fn(|| events.next()).collect()
    }

    #[test]
    fn events_are_read_however_they_come() {
        for end in ["\n", "\r\n", "\r"] {
            let text = [
                "\u{feff}: hello",
                "id: 7",
                "event: message",
                "data: {\"a\":",
                "data:1}",
                "",
                "",
                "data",
                "",
                "data: late",
            ];
            let text = text.join(end);
            for step in 1..text.len() {
                let found = all(&text, step);
                assert_eq!(found.len(), 2, "{text:?} by {step}");
                assert_eq!(found[0].message(), Some("{\"a\":\n1}"));
                assert_eq!(found[0].id.as_deref(), Some("7"));
                assert_eq!(found[1].message(), None);
            }
        }
    }

    #[test]
    fn an_event_without_an_end_is_not_kept() {
        let mut events = Events::default();
        assert_eq!(events.push(b"data: 0123456789", 10), Err(TooLong(10)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(line in "[ -~äß漢]{1,60}", id in "[a-z0-9]{1,9}") {
            let event = Event { id: Some(id), ..Event::own(line.as_bytes()) };
            let text = String::from_utf8(event.encode()).unwrap();
            prop_assert_eq!(all(&text, 3), vec![event]);
        }

        #[test]
        fn no_bytes_are_too_bad(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut events = Events::default();
            if events.push(&bytes, 1000).is_ok() {
                while events.next().is_some() {}
            }
        }
    }
}
