use proptest::prelude::*;
use serde_json::json;

use super::*;

fn check(text: &str) -> Result<&str, JsonError> {
    Json::validate(text).map(Json::as_str)
}

#[test]
fn valid_json_that_other_parsers_refuse_is_read() {
    for text in ["1e400", "-0", "-1E-9999", "123456789012345678901234567890", r#""\ud83d""#, r#"{"\udc00":"\ud83dx"}"#]
    {
        assert_eq!(check(text), Ok(text));
        assert_eq!(check(&format!(" \r\n\t{text} ")), Ok(text));
    }
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(check(&deep(MAX_DEPTH)).is_ok());
    assert_eq!(check(&deep(MAX_DEPTH + 1)), Err(JsonError::TooDeep));
    assert_eq!(check(&"[".repeat(10_000_000)), Err(JsonError::TooDeep));
}

#[test]
fn what_is_not_json_is_refused_with_the_place() {
    let syntax = |text| match check(text) {
        Err(JsonError::Syntax { at, .. }) => at,
        other => panic!("{text}: {other:?}"),
    };
    for (text, at) in [
        ("NaN", 0),
        ("-Infinity", 1),
        ("01", 0),
        ("-01", 1),
        ("1.x", 2),
        ("1ee", 2),
        ("[1,]", 3),
        ("{\"a\":1,}", 7),
        ("{a:1}", 1),
        ("{\"a\" 1}", 5),
        ("[1}", 2),
        ("{\"a\":1]", 6),
        ("[1 2]", 3),
        ("1 2", 2),
        ("'a'", 0),
        ("\"a\nb\"", 2),
        (r#""\x""#, 2),
        (r#""\u12g4""#, 5),
        ("nul0", 3),
        ("// a", 0),
        ("]", 0),
    ] {
        assert_eq!(syntax(text), at, "{text}");
    }
    assert_eq!(check(" "), Err(JsonError::Empty));
    assert_eq!(check("<!doctype html>"), Err(JsonError::Html));
    for text in ["{", "[1", "\"a", "\"a\\", "\"\\u12", "tru", "-", "1.", "1e+", "{\"a\"", "{\"a\":", "[1,"] {
        assert_eq!(check(text), Err(JsonError::Truncated { at: text.len() }), "{text}");
    }
}

#[test]
fn numbers_keep_their_digits_and_strings_say_what_they_say() {
    let text = r#"{"a":1.10,"b":1e5,"c":1E+05,"d":123456789012345678901234567890,"e":-0,"f":1e400}"#;
    let value = parse(text).unwrap();
    assert_eq!(value.to_string(), text);
    assert_eq!(value.clone().to_string(), text);
    assert_eq!((value["a"].as_f64(), parse("7").unwrap().as_u64()), (Some(1.1), Some(7)));
    assert_eq!(parse("7").unwrap(), json!(7));
    let said = |text: &str| parse(text).unwrap().as_str().unwrap().to_owned();
    assert_eq!(said(r#""a\/\b\f\n\r\t\"\\\u00e9\ud83d\ude00""#), "a/\u{8}\u{c}\n\r\t\"\\é😀");
    assert_eq!(said(r#""\ud83d \ude00\ud83d\ud83d\ude00""#), "\u{fffd} \u{fffd}\u{fffd}😀");
    let exact = |text| Json::validate(text).unwrap().exact_text().unwrap().into_owned();
    assert_eq!(exact(r#""a\ud83d""#), "a\\ud83d");
    assert_eq!(exact("1.10"), "1.10");
}

#[test]
fn names_that_serde_json_uses_itself_are_names() {
    let text = r#"{"$serde_json::private::Number":"x","$serde_json::private::RawValue":"[1,"}"#;
    let value = parse(text).unwrap();
    assert_eq!(value["$serde_json::private::Number"], "x");
    assert_eq!(value.to_string(), text);
}

#[test]
fn members_and_items_are_found_without_a_tree() {
    let json = Json::validate(r#" {"a": [1, {"b": "}]"} , "x"], "c~/": {}, "a": [], "e\u0041": null } "#).unwrap();
    let names: Vec<_> = json.members().map(|(name, value)| (name.into_owned(), value.as_str())).collect();
    let expected = [("a", r#"[1, {"b": "}]"} , "x"]"#), ("c~/", "{}"), ("a", "[]"), ("eA", "null")];
    assert_eq!(names, expected.map(|(name, value)| (name.to_owned(), value)));
    assert_eq!(json.get("a").map(Json::as_str), Some("[]"));
    let items: Vec<_> = json.members().next().unwrap().1.items().map(Json::as_str).collect();
    assert_eq!(items, ["1", r#"{"b": "}]"}"#, r#""x""#]);
    assert_eq!(Json::validate("[5,6]").unwrap().get("1").map(Json::as_str), Some("6"));
    assert_eq!(Json::validate("[5,6]").unwrap().get("01"), None);
    assert_eq!((json.items().count(), Json::NULL.members().count()), (0, 0));
    assert_eq!(json.extent(), Extent { levels: 3, longest_number: 4 });
}

#[test]
fn values_of_the_greatest_depth_fit_a_small_stack() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let text = format!("{}1{}", open.repeat(MAX_DEPTH), close.repeat(MAX_DEPTH));
        let work = move || {
            let value = parse(&text).unwrap();
            assert_eq!(value.clone(), value);
            assert_eq!(value.to_string(), text);
            assert_eq!(minified(&pretty(&text)), text);
        };
        std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap();
    }
}

#[test]
fn bytes_are_read_by_mark_shape_and_charset() {
    let text = "{\"name\":\"José 世\"}";
    let utf_16 = |word: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(word).collect::<Vec<u8>>();
    let utf_32 = |word: fn(u32) -> [u8; 4]| text.chars().flat_map(|c| word(c.into())).collect::<Vec<u8>>();
    let all = [
        (&b"\xef\xbb\xbf"[..], text.as_bytes().to_vec()),
        (b"\xff\xfe", utf_16(u16::to_le_bytes)),
        (b"\xfe\xff", utf_16(u16::to_be_bytes)),
        (b"\xff\xfe\0\0", utf_32(u32::to_le_bytes)),
        (b"\0\0\xfe\xff", utf_32(u32::to_be_bytes)),
    ];
    for (mark, bytes) in all {
        assert_eq!(decode(&[mark, &bytes].concat(), None).unwrap(), text);
        assert_eq!(decode(&bytes, Some("iso-8859-1")).unwrap(), text, "{mark:?}");
    }
    let latin = b"\"Jos\xe9\"";
    for charset in [Some("ISO-8859-1"), Some("windows-1252"), Some("utf-8"), None] {
        assert_eq!(decode(latin, charset).unwrap(), "\"José\"");
    }
    assert_eq!(decode(b"\"Jos\xe9 \xc3\xa9\"", None).unwrap(), "\"José é\"");
    assert_eq!(decode(b"\"\x83\x65\"", Some("shift_jis")).unwrap(), "\"テ\"");
    assert_eq!(decode(b"\"\x1b$B%F\x1b(B\"", Some("iso-2022-jp")).unwrap(), "\"テ\"");
    assert_eq!(decode(latin, Some("klingon")), Err(JsonError::UnknownCharset { charset: "klingon".to_owned() }));
    assert_eq!(decode(b"1", Some("klingon")).unwrap(), "1");
    assert_eq!(charset("application/json; profile=x; Charset=\"ISO-8859-1\""), Some("ISO-8859-1"));
    assert_eq!(charset("application/json;charset="), None);
}

#[test]
fn the_same_json_is_written_differently() {
    assert_eq!(
        pretty(r#"{"a":[1,2.50],"b":{},"c":[]}"#),
        "{\n  \"a\": [\n    1,\n    2.50\n  ],\n  \"b\": {},\n  \"c\": []\n}"
    );
    assert_eq!(without_lone_surrogates(r#""\\ud83d \ud83d\n\ud83d\ude00""#), "\"\\\\ud83d \u{fffd}\\n\\ud83d\\ude00\"");
    assert!(matches!(without_lone_surrogates(r#""\u00e9""#), Cow::Borrowed(_)));
}

proptest! {
    #[test]
    fn no_text_panics_and_serde_json_agrees(text in "[\\[\\]{}\",:\\\\u0-9a-fE+.truenls -]{0,24}") {
        let ours = parse(&text);
        if let Ok(theirs) = serde_json::from_str::<Value>(&text) {
            prop_assert_eq!(ours.map_err(|error| error.to_string()).map(|value| value.to_string().replace("e+", "e")),
                Ok(theirs.to_string().replace("e+", "e")));
        }
        let json = Json::from_validated(&text);
        let _ = (json.items().count(), json.members().count(), json.text(), json.get("0"), pretty(&text));
        let _ = (without_lone_surrogates(&text), minified(&text), json.value());
    }

    #[test]
    fn nothing_but_space_is_lost(text in "[ \\n\"\\\\a-c{}:,é]{0,40}") {
        let value = json!({ "text": text, "list": [text, 1, { text.clone(): null }] });
        let written = serde_json::to_string_pretty(&value).unwrap();
        prop_assert_eq!(minified(&written).into_owned(), value.to_string());
        prop_assert_eq!(&pretty(&value.to_string()), &written);
        prop_assert_eq!(parse(&written).unwrap(), value);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), charset in "[a-z0-9-]{0,12}") {
        let _ = decode(&bytes, Some(&charset));
        let _ = parse_bytes(&bytes, None);
    }
}
