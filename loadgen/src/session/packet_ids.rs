//! A set of packet identifiers.

/// One bit per identifier, 8 KiB.
#[derive(Debug)]
pub(super) struct PacketIds {
    bits: [u64; 1024],
}

impl Default for PacketIds {
    fn default() -> Self {
        Self { bits: [0; 1024] }
    }
}

impl PacketIds {
    /// Adds an identifier; false when it was in the set.
    #[inline]
    pub(super) fn insert(&mut self, packet_id: u16) -> bool {
        let (word, bit) = Self::place(packet_id);
        let absent = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        absent
    }

    /// Takes an identifier out.
    #[inline]
    pub(super) fn remove(&mut self, packet_id: u16) {
        let (word, bit) = Self::place(packet_id);
        self.bits[word] &= !bit;
    }

    #[inline]
    const fn place(packet_id: u16) -> (usize, u64) {
        (packet_id as usize / 64, 1 << (packet_id % 64))
    }
}
