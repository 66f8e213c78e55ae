//! Columns of text, aligned.

/// How a column is aligned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a head, two spaces apart; empty columns are left out.
pub(crate) fn table(head: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        match cells.max() {
            None | Some(0) => 0,
            Some(most) => most.max(head[column].0.chars().count()),
        }
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let names: Vec<String> = head.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut out = String::new();
    for row in std::iter::once(&names).chain(rows) {
        let cells = row.iter().enumerate().filter(|(column, _)| widths[*column] > 0);
        let cells = cells.map(|(column, cell)| match head[column].1 {
            Align::Left => format!("{cell:<0$}", widths[column]),
            Align::Right => format!("{cell:>0$}", widths[column]),
        });
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// A whole number in groups of three: `12,345`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A size for people: `1.2 GB`.
pub(crate) fn bytes(number: f64) -> String {
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    match units.iter().find(|(size, _)| number >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", number / size),
        None => format!("{number:.0} B"),
    }
}

/// A time for people: `2 h 05 min`, `3 min 20 s`, `4.2 s`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        3600.. => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
        60.. => format!("{} min {:02} s", whole / 60, whole % 60),
        _ if seconds < 1.0 => format!("{seconds:.2} s"),
        _ => format!("{seconds:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_empty_ones_left_out() {
        let rows = [
            vec!["a".into(), String::new(), "1".into()],
            vec!["bcd".into(), String::new(), "10".into()],
        ];
        let head = [("name", Align::Left), ("gone", Align::Left), ("n", Align::Right)];
        assert_eq!(table(&head, &rows), "name   n\na      1\nbcd   10\n");
    }

    #[test]
    fn sizes_and_times_are_for_people() {
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!([bytes(12.0), bytes(1500.0), bytes(2.5e9)], ["12 B", "1.5 kB", "2.5 GB"]);
        assert_eq!([duration(0.014), duration(3.25)], ["0.01 s", "3.2 s"]);
        assert_eq!([duration(200.0), duration(7500.0)], ["3 min 20 s", "2 h 05 min"]);
    }
}
