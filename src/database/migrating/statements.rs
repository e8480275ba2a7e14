//! The statements of a migration, one by one.

/// Splits a script at the semicolons between its statements: not at those in comments, quoted texts and names, and
/// bodies of functions between dollar signs. Bodies in `begin atomic … end` are not recognized: a test refuses them.
pub(super) fn statements(script: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut start, mut at, mut is_empty) = (0, 0, true);
    while let Some(next) = script[at..].chars().next() {
        let rest = &script[at..];
        let length = match next {
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => length_of_comment(rest),
            ';' => {
                if !is_empty {
                    found.push(script[start..at].trim());
                }
                (start, is_empty) = (at + 1, true);
                1
            }
            _ => {
                is_empty &= next.is_whitespace();
                match next {
                    '\'' => length_of_text(rest, has_escapes(&script[..at])),
                    '"' => 1 + end_after(&rest[1..], "\""),
                    '$' => length_of_body(rest),
                    _ => next.len_utf8(),
                }
            }
        };
        at += length;
    }
    if !is_empty {
        found.push(script[start..].trim());
    }
    found
}

/// The length up to and with `end`; all of it if it never ends.
fn end_after(rest: &str, end: &str) -> usize {
    rest.find(end).map_or(rest.len(), |place| place + end.len())
}

/// Comments in `/* … */` may contain others.
fn length_of_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_u32, 0);
    while at < rest.len() {
        let pair = rest.as_bytes().get(at..at + 2);
        match pair {
            Some(b"/*") => depth += 1,
            Some(b"*/") => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// Whether a text that begins here has escapes with a backslash: `E'…'`.
fn has_escapes(before: &str) -> bool {
    let mut last = before.chars().rev();
    last.next().is_some_and(|c| c.eq_ignore_ascii_case(&'e'))
        && last.next().is_none_or(|c| !c.is_alphanumeric() && c != '_')
}

/// A doubled quote counts as the end of one text and the beginning of the next.
fn length_of_text(rest: &str, has_escapes: bool) -> usize {
    let mut is_escaped = false;
    for (place, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if has_escapes => is_escaped = true,
            b'\'' => return place + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `$$ … $$` or `$tag$ … $tag$`.
fn length_of_body(rest: &str) -> usize {
    let tag = rest[1..].find('$').map(|end| &rest[..end + 2]);
    let is_tag = |tag: &&str| tag[1..tag.len() - 1].chars().all(|c| c.is_alphanumeric() || c == '_');
    tag.filter(is_tag).map_or(1, |tag| tag.len() + end_after(&rest[tag.len()..], tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::migrating::MIGRATIONS;

    #[test]
    fn statements_end_at_semicolons_that_are_not_within_something() {
        for (script, wanted) in [
            ("", vec![]),
            (" ; -- nothing;\n;", vec![]),
            ("select 1; select 2", vec!["select 1", "select 2"]),
            ("-- why; it is\nselect 1;\n-- the end;", vec!["-- why; it is\nselect 1"]),
            ("select /* a; /* b; */ c; */ 1; select 2;", vec!["select /* a; /* b; */ c; */ 1", "select 2"]),
            ("select 'it''s; so', '\\'; select 2", vec!["select 'it''s; so', '\\'", "select 2"]),
            ("select E'it\\'s; so'; select 2", vec!["select E'it\\'s; so'", "select 2"]),
            ("select tale'\\'; select 2", vec!["select tale'\\'", "select 2"]),
            (r#"select 1 as "a;b"; select 2"#, vec![r#"select 1 as "a;b""#, "select 2"]),
            ("do $$ begin a; b; end $$; select 2", vec!["do $$ begin a; b; end $$", "select 2"]),
            (
                "do $x$ a; $$ b; $$ $x$; select $1; select 'ü;'",
                vec!["do $x$ a; $$ b; $$ $x$", "select $1", "select 'ü;'"],
            ),
            ("select 'never; ended", vec!["select 'never; ended"]),
        ] {
            assert_eq!(statements(script), wanted, "{script}");
        }
    }

    #[test]
    fn our_migrations_are_split_into_whole_statements() {
        for migration in MIGRATIONS.iter() {
            let script = migration.sql.as_str();
            assert!(!script.to_lowercase().contains("begin atomic"), "{}", migration.description);
            let found = statements(script);
            assert!(!found.is_empty(), "{}", migration.description);
            for statement in found {
                let lines = statement.lines().filter(|line| !line.trim_start().starts_with("--"));
                let first = lines.flat_map(str::split_whitespace).next().unwrap_or_default();
                let verbs =
                    ["create", "alter", "drop", "insert", "update", "delete", "comment", "do", "analyze", "truncate"];
                assert!(verbs.contains(&first), "{}: {statement}", migration.description);
                assert_eq!(statement.matches("$$").count() % 2, 0, "{statement}");
            }
        }
    }
}
