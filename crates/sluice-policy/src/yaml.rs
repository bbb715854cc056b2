//! YAML that is not worth its reading.

/// Brackets within brackets.
const DEPTH: usize = 128;
/// Lines that begin with `%`, over all documents of a text.
const DIRECTIVES: usize = 16;

/// Why a text is not given to the YAML parser, whose time grows with the square
/// of the depth of brackets and of the number of directives: it reads all before
/// it says what is wrong.
pub fn too_costly(text: &str) -> Option<&'static str> {
    if too_deep(text) {
        return Some("has brackets nested deeper than 128; correct it");
    }
    let directives = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).filter(|line| line.starts_with('%'));
    (directives.count() > DIRECTIVES).then_some("has more than 16 directives (lines that begin with `%`); remove them")
}

/// Whether brackets are nested deeper than 128. Those in texts count too.
pub fn too_deep(text: &str) -> bool {
    let mut open = 0_usize;
    text.bytes().any(|byte| {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        open > DEPTH
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_and_directives_are_counted() {
        assert_eq!(too_costly(&"[".repeat(128)), None);
        assert!(too_costly(&"{a: ".repeat(129)).is_some_and(|why| why.contains("deeper")));
        assert_eq!(too_costly(&"[]".repeat(10_000)), None);
        let tags = |count: usize, end: &str| -> String {
            (0..count).map(|number| format!("%TAG !{number}! tag:a.example,{end}")).collect()
        };
        assert_eq!(too_costly(&(tags(16, "\n") + "--- a\n")), None);
        for end in ["\n", "\r", "\r\n", "\u{85}", "\u{2028}"] {
            assert!(too_costly(&tags(17, end)).is_some_and(|why| why.contains("directives")), "{end:?}");
        }
    }
}
