//! Base64 (RFC 4648), as tokenizer.json carries bytes.

/// The bytes of a text in the standard alphabet with padding; `None` if it is none.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take_while(|&&b| b == b'=').count();
    let digits = &text[..text.len() - padding];
    if padding > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for group in digits.chunks(4) {
        let mut bits = 0u32;
        for &digit in group {
            bits = bits << 6 | value(digit)?;
        }
        let bytes = group.len() * 6 / 8;
        bits <<= 24 - 6 * group.len();
        out.extend(&bits.to_be_bytes()[1..1 + bytes]);
    }
    Some(out)
}

fn value(digit: u8) -> Option<u32> {
    Some(u32::from(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::decode;

    // Test vectors: RFC 4648, section 10.
    #[test]
    fn vectors() {
        for (text, bytes) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob"), ("Zm9vYmFy", "foobar")]
        {
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(decode("/+8A").unwrap(), [0xff, 0xef, 0x00]);
        for bad in ["Z", "Zg=", "Zg===", "====", "Z===", "Zm=v", "Zm9\u{fe}", "Zm 9"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
