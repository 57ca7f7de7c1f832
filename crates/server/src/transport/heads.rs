//! Which of a connection's bytes belong to the head of a request.
//!
//! With HTTP/1 all do, as long as no request is under way. With HTTP/2 a client may send at any time what asks for nothing, such as a
//! PING; who only does that is idle.

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a frame's header: three of the length, one of the type, one of flags, four of the stream (RFC 9113, section 4.1).
const FRAME_HEADER: usize = 9;

/// Types of frames that have parts of heads in them.
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

/// The flag of the frame that ends a head.
const END_HEADERS: u8 = 4;

/// Follows what is received, no further than to see where heads are.
#[derive(Debug)]
pub(super) enum Heads {
    /// So many bytes came, which are those of the preface.
    Beginning(usize),
    /// No preface.
    Http1,
    /// After the preface.
    Http2(Frame),
}

/// The frame that is being received.
#[derive(Debug, Default)]
pub(super) struct Frame {
    header: [u8; FRAME_HEADER],
    /// Bytes of the header that are there.
    header_bytes: usize,
    /// Bytes of the rest that are to come.
    left: usize,
    /// A head has begun in frames before and goes on in the next.
    continued: bool,
}

impl Heads {
    pub(super) fn new() -> Self {
        Heads::Beginning(0)
    }

    /// Takes in what was received, and says whether there is the beginning of a head now, of which not all has come.
    pub(super) fn received(&mut self, mut bytes: &[u8]) -> bool {
        if let Heads::Beginning(known) = self {
            let expected = &PREFACE[*known..];
            let common = expected.len().min(bytes.len());
            if bytes[..common] != expected[..common] {
                *self = Heads::Http1;
            } else if common == expected.len() {
                *self = Heads::Http2(Frame::default());
                bytes = &bytes[common..];
            } else {
                *known += common;
            }
        }
        match self {
            Heads::Beginning(_) | Heads::Http1 => true,
            Heads::Http2(frame) => frame.received(bytes),
        }
    }
}

impl Frame {
    fn received(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let missing = (FRAME_HEADER - self.header_bytes).min(bytes.len());
            let (header, rest) = bytes.split_at(missing);
            self.header[self.header_bytes..][..missing].copy_from_slice(header);
            self.header_bytes += missing;
            bytes = rest;
            if self.header_bytes < FRAME_HEADER {
                break;
            }
            if missing > 0 {
                let [a, b, c, ..] = self.header;
                self.left = u32::from_be_bytes([0, a, b, c]) as usize;
            }
            let taken = self.left.min(bytes.len());
            bytes = &bytes[taken..];
            self.left -= taken;
            if self.left > 0 {
                break;
            }
            if self.is_of_head() {
                self.continued = self.header[4] & END_HEADERS == 0;
            }
            self.header_bytes = 0;
        }
        self.continued || (self.header_bytes == FRAME_HEADER && self.is_of_head())
    }

    fn is_of_head(&self) -> bool {
        matches!(self.header[3], HEADERS | CONTINUATION)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let [_, a, b, c] = (payload as u32).to_be_bytes();
        [&[a, b, c, kind, flags, 0, 0, 0, 1][..], &vec![0; payload]].concat()
    }

    fn http2() -> Heads {
        let mut heads = Heads::new();
        assert!(!heads.received(PREFACE));
        heads
    }

    #[test]
    fn all_of_http_1_is_heads() {
        for start in ["G", "GET / HTTP/1.1\r\n", "PRI * HTTP/1.1"] {
            let mut heads = Heads::new();
            assert!(heads.received(start.as_bytes()));
            assert!(heads.received(b"more"));
        }
        let mut heads = Heads::new();
        assert!(heads.received(&PREFACE[..10]) && heads.received(&PREFACE[10..23]));
        assert!(!heads.received(&PREFACE[23..]));
    }

    #[test]
    fn a_ping_is_no_head() {
        let mut heads = http2();
        for part in frame(PING, 0, 8).chunks(5) {
            assert!(!heads.received(part));
        }
    }

    #[test]
    fn half_a_head_is_one_until_it_is_whole() {
        let mut heads = http2();
        let head = frame(HEADERS, END_HEADERS, 40);
        assert!(!heads.received(&head[..FRAME_HEADER - 1]));
        assert!(heads.received(&head[FRAME_HEADER - 1..20]));
        assert!(!heads.received(&head[20..]));
        // A head in several frames, between which there is nothing else.
        assert!(heads.received(&frame(HEADERS, 0, 10)));
        assert!(heads.received(&frame(CONTINUATION, 0, 0)));
        assert!(!heads.received(&frame(CONTINUATION, END_HEADERS, 10)));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_come(
            frames in prop::collection::vec((0_u8..12, any::<u8>(), 0_usize..50), 0..20),
            sizes in prop::collection::vec(1_usize..30, 1..20),
        ) {
            let bytes: Vec<u8> = frames.into_iter().flat_map(|(kind, flags, payload)| frame(kind, flags, payload)).collect();
            let whole = http2().received(&bytes);
            let (mut heads, mut last, mut left) = (http2(), false, &bytes[..]);
            for size in sizes.into_iter().cycle() {
                if left.is_empty() {
                    break;
                }
                let (part, rest) = left.split_at(size.min(left.len()));
                (last, left) = (heads.received(part), rest);
            }
            prop_assert_eq!(whole, last);
        }
    }
}
