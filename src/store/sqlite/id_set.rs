//! Compact sets and lists of row IDs.

/// A set of row ids: a bit for each, which for millions of records is less than a megabyte.
#[derive(Debug, Default)]
pub(super) struct IdSet(Vec<u64>);

impl IdSet {
    pub(super) fn add(&mut self, id: i64) {
        let Ok(id) = usize::try_from(id) else { return };
        if self.0.len() <= id / 64 {
            self.0.resize(id / 64 + 1, 0);
        }
        self.0[id / 64] |= 1 << (id % 64);
    }

    pub(super) fn holds(&self, id: i64) -> bool {
        usize::try_from(id).is_ok_and(|id| self.0.get(id / 64).is_some_and(|bits| bits & (1 << (id % 64)) != 0))
    }
}

/// Ids as differences, each in seven-bit groups, the lowest first (LEB128), zigzagged.
pub(in crate::store) fn pack(ids: &[i64]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(ids.len() + 8);
    let mut last = 0_i64;
    for id in ids {
        let step = id.wrapping_sub(last);
        last = *id;
        let mut rest = ((step << 1) ^ (step >> 63)).cast_unsigned();
        while rest >= 0x80 {
            packed.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        packed.push(rest as u8);
    }
    packed
}

/// Reads what [`pack`] has written.
pub(in crate::store) fn unpack(packed: &[u8], mut each: impl FnMut(i64)) {
    let (mut last, mut rest, mut shift) = (0_i64, 0_u64, 0);
    for byte in packed {
        rest |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        shift += 7;
        if byte & 0x80 == 0 {
            let step = (rest >> 1).cast_signed() ^ -(rest & 1).cast_signed();
            last = last.wrapping_add(step);
            each(last);
            (rest, shift) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_are_packed_and_unpacked(ids in proptest::collection::vec(any::<i64>(), 0..40)) {
            let mut back = Vec::new();
            unpack(&pack(&ids), |id| back.push(id));
            prop_assert_eq!(back, ids);
        }

        #[test]
        fn a_set_holds_what_was_added(ids in proptest::collection::btree_set(1_i64..2_000, 0..50)) {
            let mut bits = IdSet::default();
            ids.iter().for_each(|id| bits.add(*id));
            for id in 0..2_100 {
                prop_assert_eq!(bits.holds(id), ids.contains(&id));
            }
        }
    }
}
