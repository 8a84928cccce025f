//! Memory for many small pieces of bytes, a few bytes of overhead each, without unsafe code.
//!
//! Pieces have sizes of 16 bytes' multiples; each size has chunks of its own, and places that were freed
//! are used again. A piece is found by its [`Place`].

/// Sizes are multiples of this.
const GRAIN: usize = 16;
/// Bytes of a chunk, at least; big pieces have chunks of their own.
const CHUNK: usize = 64 * 1024;

/// Where a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    chunk: u32,
    slot: u16,
}

/// Bits of a packed place that tell the slot: no chunk has more than [`CHUNK`] / [`GRAIN`] of them.
const SLOT_BITS: u32 = 12;

impl Place {
    /// As one number. Chunks beyond a million (64 GiB) do not fit.
    pub(super) fn pack(self) -> u32 {
        (self.chunk << SLOT_BITS) | u32::from(self.slot)
    }

    /// From [`Place::pack`].
    pub(super) fn unpack(packed: u32) -> Self {
        let slot = u16::try_from(packed & ((1 << SLOT_BITS) - 1)).unwrap_or(0);
        Self { chunk: packed >> SLOT_BITS, slot }
    }
}

#[derive(Debug)]
struct Chunk {
    size: usize,
    bytes: Box<[u8]>,
}

/// The pieces.
#[derive(Debug, Default)]
pub(super) struct Arena {
    chunks: Vec<Chunk>,
    /// Free places by size in grains.
    free: Vec<Vec<Place>>,
}

/// The size that a piece of so many bytes takes.
pub(super) fn size_of(len: usize) -> usize {
    len.div_ceil(GRAIN).max(1) * GRAIN
}

impl Arena {
    /// A place for so many bytes; what is in it is undefined.
    pub(super) fn allocate(&mut self, len: usize) -> Place {
        let size = size_of(len);
        let class = size / GRAIN;
        if self.free.len() <= class {
            self.free.resize_with(class + 1, Vec::new);
        }
        if let Some(place) = self.free.get_mut(class).and_then(Vec::pop) {
            return place;
        }
        let slots = (CHUNK / size).max(1);
        let chunk = u32::try_from(self.chunks.len()).unwrap_or(u32::MAX);
        self.chunks.push(Chunk { size, bytes: vec![0; size * slots].into_boxed_slice() });
        let places = (1..slots).rev().map(|slot| Place { chunk, slot: u16::try_from(slot).unwrap_or(0) });
        if let Some(free) = self.free.get_mut(class) {
            free.extend(places);
        }
        Place { chunk, slot: 0 }
    }

    /// Gives a place back.
    pub(super) fn free(&mut self, place: Place) {
        let size = self.chunks.get(place.chunk as usize).map_or(0, |chunk| chunk.size);
        if let Some(free) = self.free.get_mut(size / GRAIN) {
            free.push(place);
        }
    }

    /// The bytes of a place.
    pub(super) fn bytes(&self, place: Place) -> &[u8] {
        self.chunks
            .get(place.chunk as usize)
            .and_then(|chunk| {
                let start = chunk.size * usize::from(place.slot);
                chunk.bytes.get(start..start + chunk.size)
            })
            .unwrap_or_default()
    }

    /// The bytes of a place, to write.
    pub(super) fn bytes_mut(&mut self, place: Place) -> &mut [u8] {
        self.chunks
            .get_mut(place.chunk as usize)
            .and_then(|chunk| {
                let start = chunk.size * usize::from(place.slot);
                chunk.bytes.get_mut(start..start + chunk.size)
            })
            .unwrap_or_default()
    }

    /// Bytes taken from the system.
    pub(super) fn held(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_do_not_overlap_and_are_used_again() {
        let mut arena = Arena::default();
        let places: Vec<Place> = (0..5000_usize).map(|len| arena.allocate(1 + len % 300)).collect();
        for (index, place) in places.iter().enumerate() {
            arena.bytes_mut(*place).fill(u8::try_from(index % 251).unwrap());
        }
        for (index, place) in places.iter().enumerate() {
            let bytes = arena.bytes(*place);
            assert_eq!(bytes.len(), size_of(1 + index % 300));
            assert!(bytes.iter().all(|byte| usize::from(*byte) == index % 251));
            assert_eq!(Place::unpack(place.pack()), *place);
        }
        let held = arena.held();
        places.iter().for_each(|place| arena.free(*place));
        for len in 0..5000_usize {
            arena.allocate(1 + len % 300);
        }
        assert_eq!(arena.held(), held);
        assert_eq!(
            arena.allocate(200_000),
            Place { chunk: u32::try_from(arena.chunks.len() - 1).unwrap(), slot: 0 }
        );
    }
}
