-- Code and scripts without spaces have words too.

-- A text as its words are told apart. The parser takes what stands between `<` and `>`, or `&` and `;`, for markup, and leaves
-- it out; and it takes what Chinese and Japanese write without a space for one word. So others stand for `<` and `&`, and
-- each character of these scripts for itself: what is searched for is then a sequence of them. Whoever shows the text
-- takes these back (`src/sessions/excerpt.rs`); that a text has none of them already is seen to here.
create function search_text(content text) returns text
    language sql immutable parallel safe
    return regexp_replace(
        translate(content, E'<&\x02\x03\x04\x05\x06', E'\x04\x06'),
        '([\u3005-\u3007\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff])',
        E'\x05\\1\x05',
        'g'
    );

-- Holds for what is stored from now on, as another `search.text_config` would; `colloquy reindex` sees to the rest.
create or replace function search_words(config regconfig, content text) returns tsvector
    language sql immutable parallel safe
    return to_tsvector(config, search_text(left(content, 100000)));
