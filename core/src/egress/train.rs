//! A run of equal-sized datagrams to one destination, built in the driver's buffer (UDP GSO).

/// The largest segment of a train: what fits a 1,500-byte link under an IPv6 and a UDP header. A
/// longer packet goes alone and may be fragmented.
const SEGMENT_LEN_MAX: usize = 1500 - 40 - 8;

/// The most segments that Linux takes in one send (`UDP_MAX_SEGMENTS`, before 6.11).
const SEGMENTS_MAX: usize = 64;

/// The most bytes: the largest UDP payload over IPv4, which is the smaller of the two.
const TRAIN_LEN_MAX: usize = crate::net::TRANSMIT_BUFFER_LEN;

/// See the module. Segments are written into [`room`](Self::room) and then
/// [`commit`](Self::commit)ted; what is not committed was never there.
#[derive(Debug)]
pub(crate) struct Train<'a> {
    buffer: &'a mut [u8],
    size: usize,
    segments: usize,
    /// The size of the first segment, and of all but the last.
    segment_size: usize,
    /// The last one was shorter, or may not travel with others.
    closed: bool,
}

impl<'a> Train<'a> {
    pub(crate) fn new(buffer: &'a mut [u8]) -> Self {
        Self {
            buffer,
            size: 0,
            segments: 0,
            segment_size: 0,
            closed: false,
        }
    }

    /// Room for one more segment of `len` bytes, if it may be the next.
    pub(crate) fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        let is_first = self.segments == 0;
        let fits =
            is_first || (!self.closed && len <= self.segment_size && self.segments < SEGMENTS_MAX);
        let end = self.size + len;
        if !fits || end > TRAIN_LEN_MAX {
            return None;
        }
        self.buffer.get_mut(self.size..end)
    }

    /// Takes up the segment that was written. Returns whether it is too long to have company.
    pub(crate) fn commit(&mut self, len: usize) -> bool {
        let oversized = len > SEGMENT_LEN_MAX;
        if self.segments == 0 {
            self.segment_size = len;
        }
        self.closed = oversized || len < self.segment_size;
        self.segments += 1;
        self.size += len;
        oversized
    }

    /// Its size, and that of its segments if there is more than one. `None` if it is empty.
    pub(crate) fn finish(self) -> Option<(usize, Option<usize>)> {
        (self.segments > 0).then_some((self.size, (self.segments > 1).then_some(self.segment_size)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn build(lens: &[usize]) -> (usize, Option<(usize, Option<usize>)>) {
        let mut buffer = vec![0; TRAIN_LEN_MAX];
        let mut train = Train::new(&mut buffer);
        let mut taken = 0;
        for len in lens {
            if train.room(*len).is_none() {
                break;
            }
            train.commit(*len);
            taken += 1;
        }
        (taken, train.finish())
    }

    #[test]
    fn equal_packets_and_a_shorter_tail_make_one_train() {
        assert_eq!(
            build(&[1000, 1000, 1000, 300, 300]),
            (4, Some((3300, Some(1000))))
        );
        assert_eq!(build(&[300, 1000]), (1, Some((300, None))));
        assert_eq!(build(&[]), (0, None));
    }

    #[test]
    fn a_packet_above_the_link_goes_alone() {
        assert_eq!(build(&[1480, 1480]), (1, Some((1480, None))));
        assert_eq!(build(&[1000, 1480]), (1, Some((1000, None))));
    }

    #[test]
    fn a_train_ends_at_64_segments_and_at_the_largest_datagram() {
        assert_eq!(build(&[100; 70]).0, 64);
        assert_eq!(build(&[1450; 70]).0, 45);
    }

    proptest! {
        #[test]
        fn every_train_can_be_cut_back_into_its_packets(lens in prop::collection::vec(1_usize..1500, 1..80)) {
            let (taken, built) = build(&lens);
            let (size, segment_size) = built.unwrap();
            let lens = &lens[..taken];
            prop_assert_eq!(size, lens.iter().sum::<usize>());
            match segment_size {
                None => prop_assert_eq!(taken, 1),
                Some(segment) => {
                    let (last, full) = lens.split_last().unwrap();
                    prop_assert!(segment <= SEGMENT_LEN_MAX && *last <= segment);
                    prop_assert!(full.iter().all(|len| *len == segment));
                }
            }
        }
    }
}
