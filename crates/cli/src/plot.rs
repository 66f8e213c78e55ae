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

    fn last_step(&self) -> f64 {
        let all = self.reward.iter().chain(&self.accuracy).map(|(step, _)| *step);
        all.fold(1.0, f64::max)
    }

    /// Lines for a terminal, `width` columns with the axis.
    pub(crate) fn draw(&self, width: usize, height: usize) -> String {
        let columns = width.saturating_sub(6).max(10);
        let mut cells = vec![vec![' '; columns]; height];
        let last = self.last_step();
        let column = |step: f64, n: usize| ((step / last) * (n - 1) as f64).round() as usize;
        let row = |value: f64, n: usize| {
            ((1.0 - value.clamp(0.0, 1.0)) * (n - 1) as f64).round() as usize
        };
        for border in &self.borders {
            let at = column(*border, columns);
            cells.iter_mut().for_each(|line| line[at] = '┊');
        }
        // The mean of what falls into a column of dots: a long run stays readable.
        let mut sum = vec![(0.0, 0u32); 2 * columns];
        for (step, value) in &self.reward {
            let (total, count) = &mut sum[column(*step, 2 * columns)];
            *total += value;
            *count += 1;
        }
        for (x, (total, count)) in sum.iter().enumerate().filter(|(_, (_, count))| *count > 0) {
            let y = row(total / f64::from(*count), 4 * height);
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
        let end = format!("step {last:.0}");
        let _ = writeln!(out, "      0{end:>0$}", columns - 1);
        out + "      ⠒ reward   ● accuracy\n"
    }

    /// A picture that a browser or a paper shows.
    pub(crate) fn svg(&self, title: &str) -> String {
        let (width, height, left, top) = (640.0, 320.0, 48.0, 32.0);
        let last = self.last_step();
        let x = |step: f64| left + step / last * (width - left - 16.0);
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
        for border in &self.borders {
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
            "<text x=\"{left}\" y=\"{bottom}\">optimizer steps: 0 to {last:.0}</text>\
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
        let expected = "1.00 │     ┊   ●\n0.50 │   ⠄⠐⠁";
        let lines: Vec<&str> = drawing.lines().collect();
        assert!(lines[0].starts_with("1.00 │") && lines[0].ends_with('●'), "{drawing}");
        assert!(lines[2].starts_with("0.00 │⡀"), "{drawing}\n{expected}");
        assert!(lines[4].ends_with("step 8"), "{drawing}");
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
