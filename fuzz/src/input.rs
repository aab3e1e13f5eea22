//! Bytes of an input, taken one after the other.

/// What is left of an input.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// All of it.
    #[must_use]
    pub fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// The next byte. `None`: the input is at its end.
    pub fn next_byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// The next byte, 0 at the end.
    pub fn byte(&mut self) -> u8 {
        self.next_byte().unwrap_or_default()
    }

    /// The next two bytes as a number, 0 at the end.
    pub fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// As many bytes as a number before them says, or as there are.
    pub fn block(&mut self) -> &'a [u8] {
        let len = usize::from(self.number()).min(self.rest.len());
        let (block, rest) = self.rest.split_at(len);
        self.rest = rest;
        block
    }
}
