//! gRPC's framing, as far as counting and limiting need it: a flag byte, a
//! length of four bytes, the message.

/// Follows a stream of framed messages without keeping any of it.
#[derive(Default)]
pub struct Frames {
    header: [u8; 5],
    header_len: usize,
    rest: usize,
}

/// What a piece of a stream held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Messages whose header was completed.
    pub messages: u64,
    /// Bytes of messages, headers not counted.
    pub bytes: u64,
    /// The largest length announced.
    pub largest: usize,
}

impl Frames {
    /// Reads the next piece.
    pub fn read(&mut self, mut piece: &[u8]) -> Seen {
        let mut seen = Seen::default();
        while !piece.is_empty() {
            if self.rest > 0 {
                let taken = piece.len().min(self.rest);
                (self.rest, seen.bytes) = (self.rest - taken, seen.bytes + taken as u64);
                piece = &piece[taken..];
                continue;
            }
            let taken = piece.len().min(self.header.len() - self.header_len);
            self.header[self.header_len..][..taken].copy_from_slice(&piece[..taken]);
            (self.header_len, piece) = (self.header_len + taken, &piece[taken..]);
            if self.header_len == self.header.len() {
                let [_, length @ ..] = self.header;
                (self.header_len, self.rest) = (0, u32::from_be_bytes(length) as usize);
                (seen.messages, seen.largest) = (seen.messages + 1, seen.largest.max(self.rest));
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
        bytes.extend(std::iter::repeat_n(9, length));
        bytes
    }

    #[test]
    fn any_cut_counts_the_same() {
        let stream: Vec<u8> = [message(3), message(0), message(700)].concat();
        for size in 1..stream.len() {
            let mut frames = Frames::default();
            let mut total = Seen::default();
            for piece in stream.chunks(size) {
                let seen = frames.read(piece);
                total.messages += seen.messages;
                total.bytes += seen.bytes;
                total.largest = total.largest.max(seen.largest);
            }
            assert_eq!(
                total,
                Seen {
                    messages: 3,
                    bytes: 703,
                    largest: 700
                },
                "pieces of {size}"
            );
        }
    }
}
