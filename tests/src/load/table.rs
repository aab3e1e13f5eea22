//! A report for people.

use std::fmt::{self, Display};
use std::time::Duration;

use super::report::{Quantiles, Report};

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row =
            |f: &mut fmt::Formatter<'_>, name: &str, value: &str| writeln!(f, "{name:<22}{value}");
        let connected = self.connected();
        let there = self.totals.connected;
        let viewers = format!(
            "{connected} of {} connected, {there} at the end; {:.0} joins/s",
            self.wanted,
            self.joins_per_second()
        );
        row(f, "viewers", &viewers)?;
        let video = self.video.iter();
        let video: Vec<_> = video.map(|(codec, n)| format!("{codec} to {n}")).collect();
        row(f, "video", &video.join(", "))?;
        for (name, part) in [
            ("connected after", self.time_to(|m| m.connected)),
            ("first packet after", self.time_to(|m| m.packet)),
            ("first keyframe after", self.time_to(|m| m.keyframe)),
        ] {
            row(f, name, &times(part, connected))?;
        }
        let seconds = self.watched.as_secs_f64().max(f64::MIN_POSITIVE);
        #[expect(clippy::cast_precision_loss, reason = "for the eye")]
        let (rate, each) = (
            self.totals.packets as f64 / seconds,
            self.bits_per_second() / there.max(1) as f64,
        );
        let share = self.share.map_or(String::new(), |share| {
            let published = self.published;
            format!(
                " ({:.1} % of {published} published, to each)",
                share * 100.0
            )
        });
        let delivered = format!(
            "{} packets{share} in {seconds:.1} s, {rate:.0}/s; {:.1} Mbit/s, {:.2} each",
            self.totals.packets,
            self.bits_per_second() / 1e6,
            each / 1e6,
        );
        row(f, "delivered", &delivered)?;
        let reception = &self.reception;
        let gaps = format!(
            "{} missed: {} overtaken, {} repaired within 300 ms, {} later, {} lost, {} open",
            reception.missed,
            reception.overtaken,
            reception.in_time - reception.overtaken,
            reception.late,
            reception.lost,
            reception.pending
        );
        row(f, "gaps", &gaps)?;
        if self.totals.thrown > 0 {
            let thrown = format!("{} packets, as was asked for", self.totals.thrown);
            row(f, "thrown away", &thrown)?;
        }
        row(f, "forward latency", &self.latency_text())?;
        row(f, "this program", &self.own_text())?;
        for (why, count) in &self.failures {
            row(f, "failed", &format!("{count} × {why}"))?;
        }
        for warning in self.warnings() {
            row(f, "WARNING", &warning)?;
        }
        Ok(())
    }
}

impl Report {
    fn latency_text(&self) -> String {
        let [opened, with_time] = self.totals.opened;
        match self.latency {
            Some(latency) if with_time < opened => format!(
                "{} (of {with_time} packets; {} more that were opened had no time in them: those of a \
                 film have none, and some servers pack frames anew)",
                text(&latency),
                opened - with_time
            ),
            Some(latency) => format!("{} (of {with_time} packets)", text(&latency)),
            None if opened == 0 => "unknown: no packet was opened".to_owned(),
            None => format!(
                "unknown: none of {opened} packets had a time in it, for somebody else publishes, or \
                 the server changes what it passes on"
            ),
        }
    }

    fn own_text(&self) -> String {
        let seconds = self.watched.as_secs_f64().max(f64::MIN_POSITIVE);
        let cores = |cpu: Option<Duration>| match cpu {
            Some(cpu) => format!("{:.2} cores", cpu.as_secs_f64() / seconds),
            None => "CPU unknown".to_owned(),
        };
        let cost = self.own_cost();
        let cost = cost.map_or(String::new(), |cost| {
            format!(", {} ns/packet", cost.as_nanos())
        });
        let lag = self.own.lag.map(|lag| format!("; was late {}", text(&lag)));
        format!(
            "{}; viewers {}{cost}, busy {:.0} %{}",
            cores(self.own.cpu),
            cores(self.own.viewers_cpu),
            self.own.busy * 100.0,
            lag.unwrap_or_default()
        )
    }
}

fn times(times: Option<Quantiles>, of: usize) -> String {
    match times {
        None => "never".to_owned(),
        Some(times) if times.count < of as u64 => {
            format!("{} ({} of {of})", text(&times), times.count)
        }
        Some(times) => text(&times),
    }
}

fn text(times: &Quantiles) -> String {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    format!(
        "{:.2} ms p50, {:.2} p99, {:.2} max",
        ms(times.p50),
        ms(times.p99),
        ms(times.max)
    )
}
