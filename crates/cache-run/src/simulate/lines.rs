//! Reads lines of bounded length.

use std::io::{self, BufRead, Read};

use crate::access::AccessError;

/// Longest line in bytes. Ours have about a hundred; other programs may add fields.
const MAX_LINE: usize = 4096;

/// A line and its number.
type Numbered<'a> = (u64, Result<&'a [u8], AccessError>);

/// The lines of a log, numbered from 1. Empty ones are passed over.
pub(super) struct Lines<'a> {
    log: &'a mut dyn BufRead,
    number: u64,
    line: Vec<u8>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(log: &'a mut dyn BufRead) -> Self {
        Self { log, number: 0, line: Vec::new() }
    }

    /// Returns the next line, or that it is too long; nothing at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Numbered<'_>>> {
        loop {
            self.line.clear();
            let max = MAX_LINE as u64 + 1;
            if (&mut *self.log).take(max).read_until(b'\n', &mut self.line)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if self.line.last() == Some(&b'\n') {
                self.line.pop();
            } else if self.line.len() > MAX_LINE {
                skip_line(self.log)?;
                return Ok(Some((self.number, Err(AccessError::TooLong(MAX_LINE)))));
            }
            if !self.line.trim_ascii().is_empty() {
                return Ok(Some((self.number, Ok(&self.line))));
            }
        }
    }
}

/// Passes over the rest of a line without keeping it.
fn skip_line(log: &mut dyn BufRead) -> io::Result<()> {
    loop {
        let buffer = match log.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let (seen, done) = match memchr::memchr(b'\n', buffer) {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        log.consume(seen);
        if done {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_passed_over_and_counted() {
        let fits = "y".repeat(MAX_LINE);
        let text = format!("a\r\n\n{}\n{fits}\n{}", "x".repeat(MAX_LINE + 1), "z".repeat(3 * MAX_LINE));
        // A small buffer, so that lines are met in pieces.
        let mut log = io::BufReader::with_capacity(7, text.as_bytes());
        let mut lines = Lines::new(&mut log);
        let mut seen = Vec::new();
        while let Some((number, line)) = lines.next().unwrap() {
            seen.push((number, line.map(<[u8]>::len)));
        }
        let too_long = Err(AccessError::TooLong(MAX_LINE));
        assert_eq!(seen, [(1, Ok(2)), (3, too_long.clone()), (4, Ok(MAX_LINE)), (5, too_long)]);
    }
}
