//! Reachability between hosts: a directed table of counted cuts, so that overlapping partitions
//! heal one by one.

/// Counts, for every ordered pair of hosts, the cuts between them.
#[derive(Debug)]
pub(crate) struct Pairs {
    size: usize,
    cuts: Vec<u16>,
}

impl Pairs {
    pub(crate) fn new() -> Self {
        Self { size: 0, cuts: Vec::new() }
    }

    /// Makes room for one more host, which reaches and is reached by all.
    pub(crate) fn grow(&mut self) {
        let size = self.size + 1;
        let mut cuts = vec![0; size * size];
        for from in 0..self.size {
            let row = from * self.size..(from + 1) * self.size;
            cuts[from * size..from * size + self.size].copy_from_slice(&self.cuts[row]);
        }
        *self = Self { size, cuts };
    }

    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts[from * self.size + to] != 0
    }

    pub(crate) fn cut(&mut self, pairs: &[(usize, usize)]) {
        pairs.iter().for_each(|&(from, to)| self.cuts[from * self.size + to] += 1);
    }

    /// Removes one cut from each pair; a pair without cuts stays so.
    pub(crate) fn mend(&mut self, pairs: &[(usize, usize)]) {
        pairs.iter().for_each(|&(from, to)| {
            let cuts = &mut self.cuts[from * self.size + to];
            *cuts = cuts.saturating_sub(1);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::Pairs;

    #[test]
    fn overlapping_cuts_heal_one_by_one() {
        let mut table = Pairs::new();
        (0..3).for_each(|_| table.grow());
        table.cut(&[(0, 1), (1, 0)]);
        table.cut(&[(0, 1)]);
        table.grow();
        assert!(
            table.is_cut(0, 1) && table.is_cut(1, 0) && !table.is_cut(0, 2) && !table.is_cut(3, 0)
        );
        table.mend(&[(0, 1), (1, 0)]);
        assert!(table.is_cut(0, 1) && !table.is_cut(1, 0));
        table.mend(&[(0, 1)]);
        table.mend(&[(0, 1)]);
        assert!(!table.is_cut(0, 1));
    }
}
