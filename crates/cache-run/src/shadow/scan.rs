//! The names that a source text asks for.
//!
//! This is no preprocessor. Comments, strings and inactive branches count as text: a name too many only makes the answer
//! more careful. What cannot be read by eye, such as `#include MACRO`, is told.

use crate::depfile::to_os_string;
use memchr::memmem;
use std::collections::BTreeSet;
use std::ffi::OsString;

/// The longest name of a header, in bytes, as paths go on Linux.
const MAX_NAME_BYTES: usize = 4096;

/// Longer than any word that is looked for, in bytes, so that a text of one endless word takes linear time.
const MAX_WORD_BYTES: usize = 32;

/// The directives that name a file, and C++'s `import`.
const INCLUDES: [&[u8]; 4] = [b"include", b"include_next", b"import", b"embed"];

/// The operators that ask whether there is a file.
const ASKS: [&[u8]; 4] = [b"__has_include", b"__has_include_next", b"__has_include__", b"__has_embed"];

/// What one text asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// Included as `"name"`.
    pub(super) quoted: BTreeSet<OsString>,
    /// Included as `<name>`.
    pub(super) angled: BTreeSet<OsString>,
    /// Asked for as `"name"`.
    pub(super) asked_quoted: BTreeSet<OsString>,
    /// Asked for as `<name>`.
    pub(super) asked_angled: BTreeSet<OsString>,
    /// Something is included whose name only the preprocessor knows.
    pub(super) computed_include: bool,
    /// Something is asked for whose name only the preprocessor knows.
    pub(super) computed_asked: bool,
}

impl Names {
    /// Returns all that is asked for.
    pub(super) fn asked(&self) -> impl Iterator<Item = &OsString> {
        self.asked_quoted.iter().chain(&self.asked_angled)
    }
}

/// Returns the names in a text.
pub(super) fn scan(text: &[u8]) -> Names {
    let text = &splice(text);
    // A trigraph can hide a line's end or a `#`; nobody has written one in earnest for decades.
    let mut names = Names { computed_include: memmem::find(text, b"??/").is_some(), ..Names::default() };
    for needle in [&b"include"[..], b"import", b"embed"] {
        for at in memmem::find_iter(text, needle) {
            let start =
                at - text[..at].iter().rev().take(MAX_WORD_BYTES).take_while(|byte| is_word(**byte)).count();
            let end = at + text[at..].iter().take(MAX_WORD_BYTES).take_while(|byte| is_word(**byte)).count();
            let word = &text[start..end];
            if INCLUDES.contains(&word) {
                names.add_include(&text[..start], &text[end..]);
            } else if ASKS.contains(&word) {
                names.add_ask(&text[..start], &text[end..]);
            }
        }
    }
    names
}

impl Names {
    fn add_include(&mut self, before: &[u8], after: &[u8]) {
        match name(skip_blanks(after)) {
            Some((b'"', name)) => self.quoted.extend(name),
            Some((_, name)) => self.angled.extend(name),
            None => {
                let before = before.trim_ascii_end();
                // The digraph and the trigraph of `#`, and a comment behind any of the three.
                self.computed_include |=
                    [&b"#"[..], b"%:", b"??=", b"*/"].iter().any(|hash| before.ends_with(hash));
            }
        }
    }

    fn add_ask(&mut self, before: &[u8], after: &[u8]) {
        // Without a parenthesis it is `defined __has_include`; behind `define` it is somebody's substitute.
        let Some(argument) = skip_blanks(after).strip_prefix(b"(") else { return };
        match name(skip_blanks(argument)) {
            Some((b'"', name)) => self.asked_quoted.extend(name),
            Some((_, name)) => self.asked_angled.extend(name),
            None => self.computed_asked |= !before.trim_ascii_end().ends_with(b"define"),
        }
    }
}

/// Adds all names on the lines of directives.
pub(super) fn directive_names(text: &[u8], names: &mut BTreeSet<OsString>) {
    for line in splice(text).split(|&byte| byte == b'\n') {
        let line = line.trim_ascii_start();
        if line.starts_with(b"#") || line.starts_with(b"%:") {
            quoted_names(line, names);
        }
    }
}

/// Adds everything that is spelled like the name of a header, `"name"` or `<name>`.
pub(super) fn quoted_names(line: &[u8], names: &mut BTreeSet<OsString>) {
    for at in memchr::memchr2_iter(b'"', b'<', line) {
        if let Some((_, Some(name))) = name(&line[at..])
            && !name.as_encoded_bytes().iter().any(u8::is_ascii_whitespace)
        {
            names.insert(name);
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &text[blanks..]
}

/// Reads `"name"` or `<name>`: the opening character, and the name unless it can be none.
fn name(text: &[u8]) -> Option<(u8, Option<OsString>)> {
    let (&open, rest) = text.split_first()?;
    let close = match open {
        b'"' => b'"',
        b'<' => b'>',
        _ => return None,
    };
    let rest = &rest[..rest.len().min(MAX_NAME_BYTES)];
    let len = memchr::memchr2(close, b'\n', rest).filter(|&at| at > 0 && rest[at] == close);
    Some((open, len.and_then(|len| to_os_string(rest[..len].to_vec()))))
}

/// Joins lines that end in a backslash, as compilers do: blank space behind it does not count.
fn splice(text: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let blanks = rest[at + 1..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r')).count();
        let joined = rest.get(at + 1 + blanks) == Some(&b'\n');
        let next = if joined { at + 2 + blanks } else { at + 1 };
        out.extend_from_slice(&rest[..if joined { at } else { next }]);
        rest = &rest[next..];
    }
    out.extend_from_slice(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<OsString> {
        names.iter().map(OsString::from).collect()
    }

    #[test]
    fn names_of_every_kind() {
        let text = b"#include \"a.h\"\n # include<b/c.h>\n#  include_next <d.h>\n%:import \"e.h\"\n#embed <f.bin>\n\
            #inc\\\nlude \"g.h\"\n#include \\ \r\n \"h.h\"\n# /* */ include \"i.h\"\nimport <j>;\n// we include the rest\n";
        let found = scan(text);
        assert_eq!(found.quoted, set(&["a.h", "e.h", "g.h", "h.h", "i.h"]));
        assert_eq!(found.angled, set(&["b/c.h", "d.h", "f.bin", "j"]));
        assert!(!found.computed_include && !found.computed_asked);
    }

    #[test]
    fn questions() {
        let text =
            b"#if defined(__has_include) && __has_include ( <a.h> )\n#elif __has_include_next(\"b.h\")\n\
            #if __has_embed(<c> limit(1))\n#define __has_include(x) 0\n";
        let found = scan(text);
        assert_eq!((found.asked_angled, found.asked_quoted), (set(&["a.h", "c"]), set(&["b.h"])));
        assert!(!found.computed_include && !found.computed_asked);
        assert!(scan(b"#define HAS(x) __has_include(x)").computed_asked);
    }

    #[test]
    fn what_cannot_be_read_by_eye() {
        for text in
            ["#include MACRO", "# include_next M", "#/**/include M", "%:include M", "#incl??/\nude <x>"]
        {
            assert!(scan(text.as_bytes()).computed_include, "{text}");
        }
        assert!(!scan(b"#include \"\n#include <>\ninclude it, #included #includes").computed_include);
    }

    #[test]
    fn names_on_lines_of_directives() {
        let mut names = BTreeSet::new();
        directive_names(
            b"#define X <a/b.h>\n#define Y \\\n \"c.h\"\nint x = \"no\";\n#if A < 3 && B > 2\n",
            &mut names,
        );
        assert_eq!(names, set(&["a/b.h", "c.h"]));
    }
}
