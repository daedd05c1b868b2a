//! Line charts as SVG, without a library: axes, a grid, a legend.

use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 56.0;
const COLOURS: [&str; 8] =
    ["#1b6ca8", "#d1495b", "#66a182", "#edae49", "#7d5ba6", "#00798c", "#8d6a4f", "#444444"];

/// A line: its name and its points.
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    /// Drawn in dashes: a prediction, or the worse part, of what is drawn.
    pub is_dashed: bool,
}

/// How values are spread along an axis.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    Linear,
    Logarithmic,
    /// Logarithmic, of numbers that double: ticks at powers of two, told in full.
    Doubling,
}

/// An axis.
pub struct Axis {
    pub label: &'static str,
    pub spread: Spread,
}

struct Scale {
    low: f64,
    high: f64,
    spread: Spread,
}

impl Scale {
    fn new(values: &[f64], spread: Spread) -> Self {
        let high = values.iter().copied().fold(f64::MIN, f64::max).max(1e-9);
        let least = values.iter().copied().filter(|value| *value > 0.0).fold(high, f64::min);
        let low = if spread == Spread::Linear { 0.0 } else { least / 1.05 };
        Scale { low, high: high * 1.05, spread }
    }

    /// 0 at the low end, 1 at the high one.
    fn place(&self, value: f64) -> f64 {
        match self.spread {
            Spread::Linear => (value - self.low) / (self.high - self.low),
            _ => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
        }
    }

    fn ticks(&self) -> Vec<f64> {
        let is_here = |tick: &f64| (self.low..=self.high).contains(tick);
        match self.spread {
            Spread::Linear => self.linear_ticks(),
            Spread::Logarithmic => {
                let digits = [1.0, 2.0, 5.0];
                let steps = (-6..12).flat_map(|power| digits.map(|digit| digit * 10f64.powi(power)));
                steps.filter(is_here).collect()
            }
            Spread::Doubling => (0..40).map(|power| 2f64.powi(power)).filter(is_here).collect(),
        }
    }

    fn linear_ticks(&self) -> Vec<f64> {
        let rough = self.high / 6.0;
        let unit = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * unit).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(unit);
        (0u32..).map(|n| f64::from(n) * step).take_while(|tick| *tick <= self.high).collect()
    }

    fn text(&self, tick: f64) -> String {
        if self.spread == Spread::Doubling { tick.to_string() } else { short(tick) }
    }
}

fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", trim(v / 1e6)),
        v if v >= 1e3 => format!("{}k", trim(v / 1e3)),
        v => trim(v),
    }
}

fn trim(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Draws the lines.
pub fn chart(title: &str, x: &Axis, y: &Axis, series: &[Series]) -> String {
    let all = |pick: fn(&(f64, f64)) -> f64| -> Vec<f64> {
        series.iter().flat_map(|line| line.points.iter().map(pick)).collect()
    };
    let across = Scale::new(&all(|point| point.0), x.spread);
    let up = Scale::new(&all(|point| point.1), y.spread);
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let at_x = |value| LEFT + across.place(value) * (right - LEFT);
    let at_y = |value| bottom - up.place(value) * (bottom - TOP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{}</text>\n",
        escaped(title)
    );
    for tick in across.ticks() {
        let (place, foot) = (at_x(tick), bottom + 18.0);
        let _ = writeln!(
            svg,
            "<path d=\"M{place:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{place:.1}\" y=\"{foot}\" text-anchor=\"middle\">{}</text>",
            across.text(tick)
        );
    }
    for tick in up.ticks() {
        let place = at_y(tick);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {place:.1}H{right}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            place + 4.0,
            up.text(tick)
        );
    }
    let _ = writeln!(
        svg,
        "<path d=\"M{LEFT} {TOP}V{bottom}H{right}\" fill=\"none\" stroke=\"#333\"/>\
         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
         <text transform=\"translate(18 {}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        (LEFT + right) / 2.0,
        HEIGHT - 14.0,
        escaped(x.label),
        (TOP + bottom) / 2.0,
        escaped(y.label)
    );
    for (number, line) in series.iter().enumerate() {
        // A dashed line has the colour of the drawn one that it belongs to.
        let alike = series.iter().take(number).filter(|other| other.is_dashed == line.is_dashed);
        let colour = COLOURS[alike.count() % COLOURS.len()];
        let dash = if line.is_dashed { " stroke-dasharray=\"6 4\"" } else { "" };
        let points: Vec<String> =
            line.points.iter().map(|(x, y)| format!("{:.1},{:.1}", at_x(*x), at_y(*y))).collect();
        let (legend, row) = (right + 12.0, TOP + 10.0 + 20.0 * number as f64);
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>\
             <path d=\"M{legend} {row}h22\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>\
             <text x=\"{}\" y=\"{}\">{}</text>",
            points.join(" "),
            legend + 28.0,
            row + 4.0,
            escaped(&line.name)
        );
        if !line.is_dashed {
            for (x, y) in &line.points {
                let (x, y) = (at_x(*x), at_y(*y));
                let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
            }
        }
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts of ticks with this anchor, in their order.
    fn ticks<'a>(svg: &'a str, anchor: &str) -> Vec<&'a str> {
        let lines = svg.lines().filter(|line| line.contains("stroke=\"#ddd\"") && line.contains(anchor));
        lines.map(|line| line.trim_end_matches("</text>").rsplit('>').next().unwrap()).collect()
    }

    #[test]
    fn an_axis_of_what_doubles_has_the_powers_of_two() {
        let points = [1, 2, 4, 8, 16, 17, 32, 64, 128, 256, 512, 1024, 2048]
            .map(|depth| (f64::from(depth), 1000.0 * f64::from(depth)));
        let draw = |spread| {
            let line = Series { name: "one".to_owned(), points: points.into(), is_dashed: false };
            let (x, y) = (Axis { label: "out", spread }, Axis { label: "rate", spread: Spread::Logarithmic });
            chart("rates", &x, &y, &[line])
        };
        let svg = draw(Spread::Doubling);
        let depths = ["1", "2", "4", "8", "16", "32", "64", "128", "256", "512", "1024", "2048"];
        assert_eq!(ticks(&svg, "\"middle\""), depths);
        let tens = ["1k", "2k", "5k", "10k", "20k", "50k", "100k", "200k", "500k", "1M", "2M"];
        assert_eq!(ticks(&svg, "\"end\""), tens);
        assert_eq!(ticks(&draw(Spread::Logarithmic), "\"middle\"")[..5], ["1", "2", "5", "10", "20"]);
        assert_eq!(ticks(&draw(Spread::Linear), "\"middle\""), ["0", "500", "1k", "1.5k", "2k"]);
    }
}
