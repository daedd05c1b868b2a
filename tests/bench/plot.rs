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

/// An axis.
pub struct Axis {
    pub label: &'static str,
    pub is_logarithmic: bool,
}

struct Scale {
    low: f64,
    high: f64,
    is_logarithmic: bool,
}

impl Scale {
    fn new(values: &[f64], is_logarithmic: bool) -> Self {
        let high = values.iter().copied().fold(f64::MIN, f64::max).max(1e-9);
        let least = values.iter().copied().filter(|value| *value > 0.0).fold(high, f64::min);
        let low = if is_logarithmic { least / 1.05 } else { 0.0 };
        Scale { low, high: high * 1.05, is_logarithmic }
    }

    /// 0 at the low end, 1 at the high one.
    fn place(&self, value: f64) -> f64 {
        if self.is_logarithmic {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    fn ticks(&self) -> Vec<f64> {
        if self.is_logarithmic {
            let steps = (-6..12).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)));
            return steps.filter(|tick| (self.low..=self.high).contains(tick)).collect();
        }
        let rough = self.high / 6.0;
        let unit = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * unit).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(unit);
        (0u32..).map(|n| f64::from(n) * step).take_while(|tick| *tick <= self.high).collect()
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
    let across = Scale::new(&all(|point| point.0), x.is_logarithmic);
    let up = Scale::new(&all(|point| point.1), y.is_logarithmic);
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
            short(tick)
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
            short(tick)
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
