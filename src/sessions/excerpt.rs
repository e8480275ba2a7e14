//! Excerpts: where a session matches a search, as HTML in which `<mark>` is the only markup.

use regex::RegexBuilder;

/// Markers around the hits in an excerpt from the database: control characters that no text needs.
pub(super) const HIT_START: char = '\u{2}';
pub(super) const HIT_END: char = '\u{3}';

/// What the SQL function `search_text` writes for `<` and `&`, and around characters that are words themselves (CJK).
const LESS_THAN: char = '\u{4}';
const AMPERSAND: char = '\u{6}';
const SEPARATOR: char = '\u{5}';

/// Converts an excerpt of a message from the database.
pub(super) fn of_message(excerpt: &str) -> String {
    // Merge hits that have only a separator between them.
    html(&excerpt.replace(SEPARATOR, "").replace(&format!("{HIT_END}{HIT_START}"), ""))
}

/// Marks the words in a session's name. `None` if it contains none of them.
pub(super) fn of_name(name: &str, words: &[&str]) -> Option<String> {
    let words = words.iter().map(|word| regex::escape(word)).collect::<Vec<_>>().join("|");
    let words = RegexBuilder::new(&words).case_insensitive(true).build().ok().filter(|_| !words.is_empty())?;
    let name: String = name.chars().filter(|c| !(HIT_START..=AMPERSAND).contains(c)).collect();
    let marked = words.replace_all(&name, format!("{HIT_START}$0{HIT_END}"));
    marked.contains(HIT_START).then(|| html(&marked))
}

fn html(excerpt: &str) -> String {
    let mut html = String::with_capacity(excerpt.len());
    for character in excerpt.chars() {
        match character {
            HIT_START => html.push_str("<mark>"),
            HIT_END => html.push_str("</mark>"),
            '&' | AMPERSAND => html.push_str("&amp;"),
            '<' | LESS_THAN => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hits_are_markup() {
        let excerpt = "Vec\u{4}\u{2}String\u{3}> & \u{5}京\u{5}\u{5}\u{2}都\u{3}\u{5}\u{5}\u{2}市\u{3}\u{5}";
        assert_eq!(of_message(excerpt), "Vec&lt;<mark>String</mark>&gt; &amp; 京<mark>都市</mark>");
    }

    #[test]
    fn a_name_is_marked_where_it_has_a_word() {
        let of = |words: &[&str]| of_name("Äpfel & C++ \u{2}prices", words);
        assert_eq!(of(&["äp", "c++"]).unwrap(), "<mark>Äp</mark>fel &amp; <mark>C++</mark> prices");
        assert_eq!(of(&["pears"]), None);
        assert_eq!(of(&[]), None);
    }
}
