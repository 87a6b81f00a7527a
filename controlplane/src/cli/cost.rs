//! `spillway cost`: computes the cost of a broadcast, with traffic priced per gigabyte and on hosts
//! with a flat rate.

use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;

use crate::terminal::{print_json, print_line};

/// Cost of a broadcast in traffic
#[derive(Debug, clap::Args)]
pub(super) struct Cost {
    /// Viewers that watch at the same time
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    viewers: u64,
    /// Megabits a second that each of them is sent
    #[arg(long, value_parser = positive, allow_negative_numbers = true)]
    mbps: f64,
    /// Duration of the broadcast, in hours
    #[arg(long, value_parser = positive, allow_negative_numbers = true)]
    hours: f64,
    /// Price of a gigabyte (10^9 bytes) that leaves, in any currency
    #[arg(long, value_parser = price, allow_negative_numbers = true)]
    price_per_gb: f64,
    /// Part of the viewers that TURN relays, 0 to 1
    #[arg(long, default_value_t = 0.2, value_parser = share, allow_negative_numbers = true)]
    turn_share: f64,
    /// Part of the relayed viewers that use a relay on another node than their media's, 0 to 1: their media leaves
    /// twice
    #[arg(long, default_value_t = 0.0, value_parser = share, allow_negative_numbers = true)]
    turn_elsewhere: f64,
    /// Regions that the broadcast is copied to, its own included
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    regions: u64,
    /// Streams that each further region is sent once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    streams: u64,
    /// Price of a host with a flat rate, for a month of 730 hours
    #[arg(long, default_value_t = 500.0, value_parser = price, allow_negative_numbers = true)]
    flat_per_month: f64,
    /// Gigabits a second that such a host sends
    #[arg(long, default_value_t = 10.0, value_parser = positive, allow_negative_numbers = true)]
    flat_gbps: f64,
    /// Highest load of the flat-rate bandwidth, 0.01 to 1
    #[arg(long, default_value_t = 0.7, value_parser = load, allow_negative_numbers = true)]
    flat_load: f64,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// Gigabytes (10^9 bytes) and their price.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Traffic {
    gb: f64,
    price: f64,
}

/// The result: traffic and prices.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Bill {
    /// Traffic to viewers, directly or through TURN.
    egress: Traffic,
    /// The part of `egress` that goes through TURN.
    through_turn: Traffic,
    /// Additional traffic from media nodes to relays on other nodes.
    turn_hop: Traffic,
    /// Traffic to the other regions.
    between_regions: Traffic,
    total: Traffic,
    flat: Flat,
    formula: &'static str,
}

/// The same broadcast on hosts with a flat rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Flat {
    /// Peak traffic in Gbit/s.
    peak_gbps: f64,
    hosts: u64,
    /// Price of all hosts for one month.
    price_per_month: f64,
    /// Price of all hosts for the hours of the broadcast, if hosts were rented by the hour.
    price_for_hours: f64,
    /// Hours of broadcast per month from which the flat rate is cheaper; `null` if it is never
    /// cheaper.
    cheaper_from_hours: Option<f64>,
}

const FORMULA: &str =
    "GB = viewers x Mb/s x hours x 3600 / 8 / 1000 (2 Mb/s is 0.9 GB per hour and direction)";
const HOURS_PER_MONTH: f64 = 730.0;
/// Gigabytes per hour at 1 Mbit/s.
const GB_PER_MBPS_HOUR: f64 = 3_600.0 / 8.0 / 1_000.0;

impl Cost {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let bill = self.bill();
        if self.json {
            print_json(&bill)
        } else {
            self.print(&bill)
        }
    }

    fn bill(&self) -> Bill {
        let viewers = self.viewers as f64;
        let relayed = viewers * self.turn_share;
        let further = (self.regions - 1) as f64 * self.streams as f64;
        let gb = |streams: f64| streams * self.mbps * self.hours * GB_PER_MBPS_HOUR;
        let traffic = |streams: f64| Traffic {
            gb: rounded(gb(streams)),
            price: rounded(gb(streams) * self.price_per_gb),
        };
        let all = viewers + relayed * self.turn_elsewhere + further;
        Bill {
            egress: traffic(viewers),
            through_turn: traffic(relayed),
            turn_hop: traffic(relayed * self.turn_elsewhere),
            between_regions: traffic(further),
            total: traffic(all),
            flat: self.flat(all, gb(all) * self.price_per_gb),
            formula: FORMULA,
        }
    }

    fn flat(&self, streams: f64, metered: f64) -> Flat {
        let peak_gbps = streams * self.mbps / 1_000.0;
        let usable = self.flat_gbps * self.flat_load;
        let hosts = (peak_gbps / usable).ceil().max(1.0);
        let per_month = hosts * self.flat_per_month;
        let metered_per_hour = metered / self.hours;
        Flat {
            peak_gbps: rounded(peak_gbps),
            hosts: hosts as u64,
            price_per_month: rounded(per_month),
            price_for_hours: rounded(per_month / HOURS_PER_MONTH * self.hours),
            cheaper_from_hours: Some(per_month / metered_per_hour)
                .filter(|hours| hours.is_finite() && *hours <= HOURS_PER_MONTH)
                .map(rounded),
        }
    }

    fn print(&self, bill: &Bill) -> anyhow::Result<()> {
        let mut table = Table::new();
        table.load_preset(UTF8_HORIZONTAL_ONLY);
        table.set_header(["traffic", "GB", "price"]);
        for (name, traffic) in [
            ("to viewers", bill.egress),
            ("  of it through TURN", bill.through_turn),
            ("to relays elsewhere", bill.turn_hop),
            ("between regions", bill.between_regions),
            ("total", bill.total),
        ] {
            let (gb, price) = (
                format!("{:.2}", traffic.gb),
                format!("{:.2}", traffic.price),
            );
            table.add_row([name.to_owned(), gb, price]);
        }
        for column in 1..=2 {
            let column = table.column_mut(column).expect("the header has it");
            column.set_cell_alignment(CellAlignment::Right);
        }
        let flat = &bill.flat;
        let cheaper = match flat.cheaper_from_hours {
            Some(hours) => format!("which is cheaper from {hours:.1} hours a month on."),
            None => "which is never cheaper at this price of a gigabyte.".to_owned(),
        };
        print_line(&format!(
            "{table}\n\n{}\n\nFlat rate: {} of {} Gb/s at {} % {} {} for {:.2} a month,\n{cheaper}",
            bill.formula,
            if flat.hosts == 1 {
                "1 host".to_owned()
            } else {
                format!("{} hosts", flat.hosts)
            },
            self.flat_gbps,
            self.flat_load * 100.0,
            if flat.hosts == 1 { "carries" } else { "carry" },
            rate(flat.peak_gbps),
            flat.price_per_month
        ))
    }
}

fn rate(gbps: f64) -> String {
    match gbps < 1.0 {
        true => format!("{:.1} Mb/s", gbps * 1e3),
        false => format!("{gbps:.2} Gb/s"),
    }
}

/// Rounds to a millionth, so that sums of binary fractions are readable.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

fn number(text: &str) -> Result<f64, String> {
    // Errors quote the text as given, because 1e300 would print 301 digits.
    let number: f64 = text.parse().map_err(|_| format!("'{text}' is no number"))?;
    match number.is_finite() {
        true => Ok(number),
        false => Err(format!("{text} is not finite")),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    let number = number(text)?;
    match number > 0.0 && number <= 1e9 {
        true => Ok(number),
        false => Err(format!("{text} is outside 0 (not included) to 1000000000")),
    }
}

fn price(text: &str) -> Result<f64, String> {
    let number = number(text)?;
    match (0.0..=1e9).contains(&number) {
        true => Ok(number),
        false => Err(format!("{text} is outside 0 to 1000000000")),
    }
}

fn load(text: &str) -> Result<f64, String> {
    let number = number(text)?;
    match (0.01..=1.0).contains(&number) {
        true => Ok(number),
        false => Err(format!("{text} is outside 0.01 to 1")),
    }
}

fn share(text: &str) -> Result<f64, String> {
    let number = number(text)?;
    match (0.0..=1.0).contains(&number) {
        true => Ok(number),
        false => Err(format!("{text} is outside 0 to 1")),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn cost(args: &[&str]) -> Result<Cost, clap::Error> {
        let command = Cost::augment_args(Command::new("cost"));
        Cost::from_arg_matches(&command.try_get_matches_from([&["cost"], args].concat())?)
    }

    fn bill(text: &str) -> Bill {
        let args: Vec<&str> = text.split_whitespace().collect();
        cost(&args).unwrap().bill()
    }

    #[test]
    fn two_megabits_for_an_hour_are_nine_tenths_of_a_gigabyte() {
        let bill = bill("--viewers 1 --mbps 2 --hours 1 --price-per-gb 0.09");
        let expected = Traffic {
            gb: 0.9,
            price: 0.081,
        };
        assert_eq!((bill.egress, bill.total), (expected, expected));
        assert_eq!(bill.through_turn.gb, 0.18);
        assert_eq!(bill.flat.hosts, 1);
        assert_eq!(bill.flat.cheaper_from_hours, None);
    }

    #[test]
    fn relays_elsewhere_and_regions_come_on_top() {
        let bill = bill(
            "--viewers 100000 --mbps 2.5 --hours 3 --price-per-gb 0.05 --turn-share 0.2 \
             --turn-elsewhere 0.5 --regions 4 --streams 2 --flat-gbps 25",
        );
        assert_eq!(bill.egress.gb, 337_500.0);
        assert_eq!(bill.through_turn.gb, 67_500.0);
        assert_eq!(bill.turn_hop.gb, 33_750.0);
        assert_eq!(bill.between_regions.gb, 20.25);
        assert_eq!(bill.total.gb, 371_270.25);
        assert_eq!(bill.total.price, 18_563.512_5);
        // 275.015 Gbit/s at 17.5 Gbit/s per host.
        assert_eq!((bill.flat.hosts, bill.flat.price_per_month), (16, 8_000.0));
        let from = bill.flat.cheaper_from_hours.unwrap();
        assert!((1.2..1.3).contains(&from), "{from}");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_limit() {
        for (args, said) in [
            (
                "--viewers 0 --mbps 2 --hours 1 --price-per-gb 1",
                "0 is not in 1..=",
            ),
            (
                "--viewers 1 --mbps 0 --hours 1 --price-per-gb 1",
                "0 is outside 0 (not included)",
            ),
            (
                "--viewers 1 --mbps NaN --hours 1 --price-per-gb 1",
                "NaN is not finite",
            ),
            (
                "--viewers 1 --mbps 2 --hours 1 --price-per-gb -1",
                "-1 is outside 0 to",
            ),
            (
                "--viewers 1 --mbps 2 --hours 1 --price-per-gb 1 --turn-share 20",
                "20 is outside 0 to 1",
            ),
            (
                "--viewers 1 --mbps 2 --hours 1 --price-per-gb 1 --flat-load 0",
                "0 is outside 0.01 to 1",
            ),
            (
                "--viewers 1 --mbps -2 --hours 1 --price-per-gb 1",
                "-2 is outside 0 (not included)",
            ),
        ] {
            let args: Vec<&str> = args.split_whitespace().collect();
            let refused = cost(&args).unwrap_err().to_string();
            assert!(refused.contains(said), "{said}: {refused}");
        }
    }
}
