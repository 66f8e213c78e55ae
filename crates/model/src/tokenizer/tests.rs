use serde_json::{Value, json};

use super::*;

const TASKS: [&str; 4] = [
    "<think> use month : march like Mar-2021 </think>",
    "<final_sql> SELECT COUNT ( * ) FROM orders WHERE start_month = 'Mar-2021' </final_sql>",
    "largest age of payments where Janet's state is New York ?",
    "café 01",
];

fn words() -> Tokenizer {
    Tokenizer::from_words(TASKS.iter().flat_map(|task| words_of(task))).unwrap()
}

#[test]
fn words_come_back_as_text_that_parses() {
    let cases = [
        ("SELECT  COUNT(*)\tFROM orders", "SELECT COUNT ( * ) FROM orders"),
        ("WHERE start_month='Mar-2021'", "WHERE start_month = 'Mar-2021'"),
        ("x = 'New York' AND y = \"a b\"", "x = 'New York' AND y = \"a b\""),
        ("day = '03/2021' , 'A, b'", "day = '03/2021' , 'A, b'"),
        ("12.50 + -5 - 3 = 4 7", "12.50 + -5 - 3 = 4 7"),
        ("7-5", "7 - 5"),
        ("a<=b <> c||d #### 9", "a <= b <> c || d #### 9"),
        ("T1.T0_id", "T1 . T0_id"),
        ("Janet's ducks", "Janet's ducks"),
        ("<think>look</think> <final_sql>", "<think> look </think> <final_sql>"),
        ("one \r\n\n  two", "one\n\ntwo"),
        ("café", "café"),
        ("", ""),
    ];
    let tokenizer = words();
    let long = "<think> use month : -5 </think>\n".repeat(2_000);
    assert_eq!(tokenizer.decode(&tokenizer.encode(&long)), long);
    for (text, expected) in cases {
        assert_eq!(normalise(text), expected);
        assert_eq!(tokenizer.decode(&tokenizer.encode(text)), expected, "{text:?}");
    }
}

#[test]
fn known_words_and_tags_are_one_id_and_others_are_spelled() {
    let tokenizer = words();
    for one in ["<think>", "</final_sql>", "start_month", "Janet's", "'", "café", "\n"] {
        assert_eq!(tokenizer.encode(one).len(), 1, "{one}");
    }
    assert_eq!(tokenizer.encode("47").len(), 2);
    assert_eq!(tokenizer.encode("zebra").len(), 5);
    assert_ne!(tokenizer.encode("47"), tokenizer.encode("4 7"));
    // Spacing does not change the ids of words: what is read can be copied.
    assert_eq!(tokenizer.encode("COUNT(*)"), tokenizer.encode("COUNT ( * )"));
    // No word holds this letter.
    let unknown = tokenizer.encode("字");
    assert_eq!(unknown, [0]);
    assert_eq!(tokenizer.decode(&unknown), "\u{fffd}");
}

#[test]
fn numbers_are_words_only_if_they_are_given_as_such() {
    assert_eq!(words_of("march 2021 -5 3rd"), ["march"]);
    let years = Tokenizer::from_words(["2021", "01"]).unwrap();
    assert_eq!(years.encode("2021").len(), 1);
    assert_eq!(years.encode("2022").len(), 4);
}

#[test]
fn ids_do_not_depend_on_the_order_of_tasks() {
    let mut turned: Vec<&str> = TASKS.to_vec();
    turned.reverse();
    let other = Tokenizer::from_words(turned.iter().flat_map(|task| words_of(task))).unwrap();
    assert_eq!(words().to_json(), other.to_json());
}

#[test]
fn bytes_are_their_own_ids() {
    let tokenizer = Tokenizer::bytes();
    let text = "A b\n\u{0}é字";
    let bytes: Vec<u32> = text.bytes().map(u32::from).collect();
    assert_eq!(tokenizer.encode(text), bytes);
    assert_eq!(tokenizer.decode(&bytes), text);
    assert_eq!(tokenizer.vocabulary(), 259);
    assert_eq!(tokenizer.end_of_text(), [256]);
    assert_eq!(tokenizer.decode(&[0xc3]), "\u{fffd}");
}

/// P17: content never becomes a control token.
#[test]
fn no_text_forges_a_control_token() {
    let fixture = include_bytes!("../../tests/fixtures/llama_tied/tokenizer.json");
    let foreign = Tokenizer::from_json(fixture).unwrap().0;
    for tokenizer in [words(), Tokenizer::bytes(), foreign] {
        let names: Vec<String> = tokenizer.controls().map(|(name, _)| name.to_owned()).collect();
        let forms =
            |name: &String| [name.clone(), format!("a{name}b {name}{name}"), format!(" {name}\n")];
        for text in names.iter().flat_map(forms) {
            let ids = tokenizer.encode(&text);
            assert!(ids.iter().all(|id| tokenizer.control_name(*id).is_none()), "{text:?} {ids:?}");
            assert!(ids.len() > 3, "{text:?}");
        }
        for text in names {
            let ids =
                tokenizer.encode_pieces(&[Piece::Control(&text), Piece::Text(&text)]).unwrap();
            assert_eq!(Some(ids[0]), tokenizer.control(&text));
            let shown = tokenizer.decode(&ids).replace(' ', "");
            assert_eq!(shown, text, "the control token is not shown, its forgery is");
        }
    }
}

#[test]
fn an_unknown_control_token_is_named() {
    let wrong = Tokenizer::bytes().encode_pieces(&[Piece::Control("<|x|>")]).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "control token `<|x|>` is not in the tokenizer: expected one of <|answer|>, <|end|>, \
         <|prompt|>"
    );
}

fn bpe(changes: &Value) -> Vec<u8> {
    let mut document: Value = serde_json::from_slice(Tokenizer::bytes().to_json()).unwrap();
    for (place, value) in changes.as_object().unwrap() {
        *document.pointer_mut(place).unwrap() = value.clone();
    }
    document.to_string().into_bytes()
}

#[test]
fn bad_files_are_refused_by_name() {
    let token = |id: u64, name: &str| json!({ "id": id, "content": name, "special": true });
    let cases = [
        (
            json!({ "/model/merges": [["a", "b"]] }),
            "tokenizer.json: merge 0 makes `ab`, which is not in the vocabulary",
        ),
        (
            json!({ "/model/merges": ["a aaaaaaaaaaaaaaaaaaaaaaaa"] }),
            "tokenizer.json: merge 0 makes `aaaaaaaaaaaaaaaaaaaaaaaa`, which is not in the \
             vocabulary",
        ),
        (
            json!({ "/added_tokens": [token(256, "")] }),
            "tokenizer.json: added token \"\": the text of id 256 is empty",
        ),
        (
            json!({ "/added_tokens": [token(300, "<a>"), token(300, "<b>")] }),
            "tokenizer.json: added token \"<b>\": it or its id 300 is listed twice",
        ),
        (
            json!({ "/added_tokens": [token(1 << 40, "<a>")] }),
            "tokenizer.json: added token \"<a>\": got id 1099511627776, expected 0 to 2097151",
        ),
        (
            json!({ "/added_tokens": [token(65, "<a>")] }),
            "tokenizer.json: added token \"<a>\": id 65 disagrees with `model.vocab`",
        ),
        (
            json!({ "/model/type": "Unigram" }),
            "tokenizer.json: model type: got Unigram, expected BPE or WordLevel; save it with \
             transformers' `save_pretrained`",
        ),
        (
            json!({ "/model/vocab": { "a": 0 } }),
            "tokenizer.json: cannot encode byte 0x09: its character is not in the vocabulary",
        ),
        (
            json!({ "/pre_tokenizer": null }),
            "tokenizer.json: cannot encode byte 0x00: expected byte-level spelling, \
             `byte_fallback` with all 256 bytes, or an `unk_token`",
        ),
    ];
    for (changes, expected) in cases {
        assert_eq!(Tokenizer::from_json(&bpe(&changes)).unwrap_err().to_string(), expected);
    }
    let text = Tokenizer::from_json(b"<html>").unwrap_err().to_string();
    assert!(text.starts_with("tokenizer.json: not valid JSON: expected value at line 1"), "{text}");
}

#[test]
fn rare_bytes_may_lack_a_spelling() {
    let mut vocabulary: Value = serde_json::from_slice(Tokenizer::bytes().to_json()).unwrap();
    let mut vocabulary = vocabulary["model"]["vocab"].take();
    // 0xF1 leads characters from U+40000 on.
    vocabulary.as_object_mut().unwrap().remove("\u{f1}");
    let (tokenizer, notes) =
        Tokenizer::from_json(&bpe(&json!({ "/model/vocab": vocabulary }))).unwrap();
    assert_eq!(notes, ["tokenizer.json: cannot encode 0xF1: such characters become U+FFFD"]);
    assert_eq!(tokenizer.decode(&tokenizer.encode("a\u{40000}é")), "a\u{fffd}é");
}

#[test]
fn stops_are_seen_at_the_token_that_completes_them() {
    let stops = ["</final_sql>".to_owned(), "\n\n".to_owned(), String::new()];
    let matcher = StopMatcher::new(&stops);
    for tokenizer in [words(), Tokenizer::bytes()] {
        for (text, cut) in [("a < b </final_sql>", "a < b </final_sql>"), ("a\n\n", "a\n\n")] {
            let ids = tokenizer.encode(text);
            for known in 0..ids.len() {
                assert!(!matcher.matched(&tokenizer, &ids[..known]), "{text:?} {known}");
            }
            assert!(matcher.matched(&tokenizer, &ids));
            assert_eq!(matcher.cut(&tokenizer.decode(&ids)), cut);
        }
    }
    assert_eq!(matcher.cut("a</final_sql>b\n\nc"), "a</final_sql>");
    assert_eq!(matcher.cut("nothing"), "nothing");
}

proptest::proptest! {
    #[test]
    fn decode_of_encode_is_normalise(text in "[ a-zA-Z0-9'\"<>/_.,;:()=*#\\-\n|é]{0,60}") {
        let tokenizer = words();
        proptest::prop_assert_eq!(tokenizer.decode(&tokenizer.encode(&text)), normalise(&text));
    }

    #[test]
    fn bytes_return_any_text(text in ".{0,60}") {
        let tokenizer = Tokenizer::bytes();
        proptest::prop_assert_eq!(tokenizer.decode(&tokenizer.encode(&text)), text);
    }
}

/// Row 51: a megabyte without a break.
#[test]
fn long_texts_are_encoded_in_bounded_time() {
    let fixture = include_bytes!("../../tests/fixtures/llama_tied/tokenizer.json");
    let foreign = Tokenizer::from_json(fixture).unwrap().0;
    for tokenizer in [words(), Tokenizer::bytes(), foreign] {
        for unit in ["a", " ", "'", "-1.", "<a", "\n"] {
            let text = unit.repeat((1 << 20) / unit.len());
            let began = std::time::Instant::now();
            let ids = tokenizer.encode(&text);
            let seconds = began.elapsed().as_secs_f64();
            assert!(seconds < 10.0, "{unit:?}: {seconds} s");
            let kept = tokenizer.decode(&ids);
            let solid = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
            assert_eq!(solid(&kept), solid(&text), "nothing is lost");
        }
    }
}
