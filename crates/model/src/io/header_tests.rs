use std::io::Cursor;

use super::*;

fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(vec![0; data]);
    bytes
}

fn parse(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let length = bytes.len() as u64;
    let mut opened = Opened { reader: Box::new(Cursor::new(bytes)), length };
    read("w.safetensors", &mut opened).map_err(|wrong| match wrong {
        IoError::Damaged { problem, .. } => problem,
        other => other.to_string(),
    })
}

#[test]
fn a_good_header_is_read_in_order_of_data() {
    let header = r#"{"__metadata__":{"format":"pt"},
        "b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},
        "a":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]}}"#;
    let entries = parse(&file(header, 12)).unwrap();
    assert_eq!(entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(entries[1].begin, 8 + header.len() as u64 + 4);
    assert_eq!(entries[1].size, 8);
}

#[test]
fn bad_headers_are_refused_by_name() {
    let entry = |name: &str, kind: &str, shape: &str, begin: u64, end: u64| {
        format!(r#""{name}":{{"dtype":"{kind}","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
    };
    let one = entry("a", "F32", "[2]", 0, 8);
    let cases = [
        (format!("{{{one}}}"), 7, format!("truncated: header needs {} bytes", 8 + one.len() + 10)),
        (format!("{{{one}}}"), 16, "8 bytes after the last tensor".to_owned()),
        (format!("{{{one},{one}}}"), 8, "tensor `a` appears twice".to_owned()),
        (
            format!("{{{one},{}}}", entry("b", "F32", "[2]", 4, 12)),
            12,
            "tensors `a` and `b` overlap at byte 4".to_owned(),
        ),
        (
            format!("{{{one},{}}}", entry("b", "F32", "[2]", 12, 20)),
            20,
            "4 unused bytes before tensor `b`".to_owned(),
        ),
        (
            format!("{{{}}}", entry("a", "F32", "[4194305,4194305,4194305]", 0, 8)),
            8,
            "tensor `a`: shape [4194305, 4194305, 4194305] overflows".to_owned(),
        ),
        (
            format!("{{{}}}", entry("a", "F32", "[3]", 0, 8)),
            8,
            "tensor `a`: shape [3] of F32 needs 12 bytes, offsets are 0..8".to_owned(),
        ),
        (
            format!("{{{}}}", entry("a", "F31", "[2]", 0, 8)),
            8,
            "tensor `a` has an unknown type: got F31".to_owned(),
        ),
        (
            format!("{{{}}}", entry("../../x", "F32", "[2]", 0, 8)),
            8,
            "tensor name is not plain: \"../../x\"".to_owned(),
        ),
        (
            format!("{{{}}}", entry("a\\u001b[2J", "F32", "[2]", 0, 8)),
            8,
            "tensor name is not plain: \"a\\u{1b}[2J\"".to_owned(),
        ),
        (
            format!("{{{}}}", entry("a", "F32", "[-2]", 0, 8)),
            8,
            "header is not valid JSON: invalid value: integer `-2`, expected u64".to_owned(),
        ),
        ("{\"a\":".to_owned(), 0, "header is not valid JSON: EOF while parsing".to_owned()),
    ];
    for (header, data, expected) in cases {
        let message = parse(&file(&header, data)).unwrap_err();
        assert!(message.starts_with(&expected), "{header}: {message}");
    }
}

#[test]
fn lengths_are_believed_only_if_the_file_has_them() {
    for (claimed, expected) in [
        (u64::MAX, "header claims 18446744073709551615 bytes, file has 10"),
        (1 << 40, "header claims 1099511627776 bytes, file has 10"),
    ] {
        let mut bytes = claimed.to_le_bytes().to_vec();
        bytes.extend(b"{}");
        assert_eq!(parse(&bytes).unwrap_err(), expected);
    }
}
