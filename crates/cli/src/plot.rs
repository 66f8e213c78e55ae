//! Curves: in a terminal with braille dots, and as an SVG.

use std::fmt::Write as _;

/// What is drawn over optimizer steps, all in [0, 1].
pub(crate) struct Curves {
    /// `(step, reward)`, a dotted line.
    pub(crate) reward: Vec<(f64, f64)>,
    /// `(step, accuracy)`, marks.
    pub(crate) accuracy: Vec<(f64, f64)>,
    /// Steps at which a stage begins, without the first.
    pub(crate) borders: Vec<f64>,
}

/// Dots of a braille cell by row and column, from U+2800.
const DOTS: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

impl Curves {
    /// True where there is nothing to draw.
    pub(crate) fn is_empty(&self) -> bool {
        self.reward.is_empty() && self.accuracy.is_empty()
    }

    /// The first and the last step with something to draw, at least one apart.
    fn range(&self) -> (f64, f64) {
        let all = || self.reward.iter().chain(&self.accuracy).map(|(step, _)| *step);
        let first = all().fold(f64::INFINITY, f64::min);
        (first, all().fold(first + 1.0, f64::max))
    }

    /// Lines for a terminal, `width` columns with the axis.
    pub(crate) fn draw(&self, width: usize, height: usize) -> String {
        let columns = width.saturating_sub(6).max(10);
        let mut cells = vec![vec![' '; columns]; height];
        let (first, last) = self.range();
        let place = |step: f64| (step - first) / (last - first);
        let column = |step: f64, n: usize| (place(step) * (n - 1) as f64).round() as usize;
        let row = |value: f64, n: usize| {
            ((1.0 - value.clamp(0.0, 1.0)) * (n - 1) as f64).round() as usize
        };
        for border in self.borders.iter().filter(|border| **border > first) {
            let at = column(*border, columns);
            cells.iter_mut().for_each(|line| line[at] = '┊');
        }
        let height_dots = 4 * height;
        for (x, value) in self.reward_dots(2 * columns, |step| column(step, 2 * columns)) {
            let y = row(value, height_dots);
            let cell = &mut cells[y / 4][x / 2];
            let dots = match *cell as u32 {
                code @ 0x2800..=0x28ff => code,
                _ => 0x2800,
            };
            *cell = char::from_u32(dots | DOTS[y % 4][x % 2]).unwrap_or('.');
        }
        for (step, value) in &self.accuracy {
            cells[row(*value, height)][column(*step, columns)] = '●';
        }
        let mut out = String::new();
        for (y, line) in cells.iter().enumerate() {
            let value = 1.0 - y as f64 / (height - 1) as f64;
            let labelled = y == 0 || y + 1 == height || y == height / 2;
            let label = if labelled { format!("{value:.2}") } else { String::new() };
            let line: String = line.iter().collect();
            let _ = writeln!(out, "{label:>4} │{}", line.trim_end());
        }
        let _ = writeln!(out, "     └{}", "─".repeat(columns));
        let (begin, end) = (format!("step {first:.0}"), format!("step {last:.0}"));
        let _ = writeln!(out, "      {begin}{end:>0$}", columns.saturating_sub(begin.len()));
        out + "      ⠒ reward   ● accuracy\n"
    }

    /// Columns of dots with their rewards: the mean of what falls into a column, so that a long
    /// run stays readable, and a straight line between columns, so that a short one does.
    fn reward_dots(&self, columns: usize, column: impl Fn(f64) -> usize) -> Vec<(usize, f64)> {
        let mut sum = vec![(0.0, 0u32); columns];
        for (step, value) in &self.reward {
            let (total, count) = &mut sum[column(*step)];
            *total += value;
            *count += 1;
        }
        let mut dots: Vec<(usize, f64)> = Vec::new();
        for (x, (total, count)) in sum.iter().enumerate().filter(|(_, (_, count))| *count > 0) {
            let value = total / f64::from(*count);
            if let Some((before, from)) = dots.last().copied() {
                let share = |at: usize| (at - before) as f64 / (x - before) as f64;
                dots.extend((before + 1..x).map(|at| (at, from + (value - from) * share(at))));
            }
            dots.push((x, value));
        }
        dots
    }

    /// A picture that a browser or a paper shows.
    pub(crate) fn svg(&self, title: &str) -> String {
        let (width, height, left, top) = (640.0, 320.0, 48.0, 32.0);
        let (first, last) = self.range();
        let x = |step: f64| left + (step - first) / (last - first) * (width - left - 16.0);
        let y = |value: f64| top + (1.0 - value.clamp(0.0, 1.0)) * (height - top - 40.0);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" \
             fill=\"white\"/>\n<text x=\"{left}\" y=\"20\">{}</text>\n",
            escaped(title)
        );
        for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
            let _ = writeln!(
                out,
                "<line x1=\"{left}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
                width - 16.0,
                left - 6.0,
                y(tick) + 4.0,
                y = y(tick),
            );
        }
        for border in self.borders.iter().filter(|border| **border > first) {
            let _ = writeln!(
                out,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{:.1}\" stroke=\"#999\" \
                 stroke-dasharray=\"3 3\"/>",
                y(0.0),
                x = x(*border),
            );
        }
        let points = |series: &[(f64, f64)]| -> String {
            let pairs = series.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value)));
            pairs.collect::<Vec<_>>().join(" ")
        };
        for (series, colour) in [(&self.reward, "#7aa6d8"), (&self.accuracy, "#c0392b")] {
            let _ = writeln!(
                out,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>",
                points(series)
            );
        }
        for (at, value) in &self.accuracy {
            let (x, y) = (x(*at), y(*value));
            let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#c0392b\"/>");
        }
        let bottom = height - 12.0;
        let _ = writeln!(
            out,
            "<text x=\"{left}\" y=\"{bottom}\">optimizer steps: {first:.0} to {last:.0}</text>\
             <text x=\"{}\" y=\"{bottom}\" fill=\"#7aa6d8\">reward</text>\
             <text x=\"{}\" y=\"{bottom}\" fill=\"#c0392b\">accuracy</text>\n</svg>",
            width - 150.0,
            width - 80.0,
        );
        out
    }
}

fn escaped(text: &str) -> String {
    crate::visible::visible(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rising() -> Curves {
        Curves {
            reward: (0..=8).map(|i| (f64::from(i), f64::from(i) / 8.0)).collect(),
            accuracy: vec![(8.0, 1.0)],
            borders: vec![4.0],
        }
    }

    #[test]
    fn a_rising_reward_goes_from_the_lower_left_to_the_upper_right() {
        let drawing = rising().draw(16, 3);
        let expected = "\
1.00 │     ┊⢀⡠⠔●
0.50 │   ⢀⠤⠔⠁
0.00 │⡠⠔⠊⠁ ┊
     └──────────
      step 0step 8
      ⠒ reward   ● accuracy
";
        assert_eq!(drawing, expected);
    }

    #[test]
    fn many_steps_in_one_column_are_their_mean() {
        let reward = (0..400).map(|i| (f64::from(i), f64::from(i % 2))).collect();
        let curves = Curves { reward, accuracy: Vec::new(), borders: Vec::new() };
        let drawing = curves.draw(26, 3);
        let middle = drawing.lines().nth(1).unwrap();
        assert_eq!(middle.chars().filter(|c| *c > '⠀').count(), 20, "{drawing}");
    }

    #[test]
    fn a_title_cannot_break_the_picture() {
        let svg = rising().svg("<script>alert(1)</script>\u{1b}");
        assert!(
            svg.contains("&lt;script&gt;") && !svg.contains("<script") && !svg.contains('\u{1b}')
        );
        assert!(svg.ends_with("</svg>\n") && svg.matches("<circle").count() == 1);
    }
}
