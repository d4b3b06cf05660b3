//! Several brokers in a report: what each has used, and what went from one to another.

use serde_json::{Value, json};

use super::report::{Report, grouped};
use crate::run::{Conducted, StageRecord};

impl Report {
    /// Adds the CPU time of each broker in a stage where several are watched, for each of
    /// `count` units of work of all of them together.
    pub(super) fn add_node_costs(&mut self, record: &StageRecord, unit: &str, count: f64) {
        if record.brokers.len() < 2 {
            return;
        }
        let mut values = Vec::new();
        for (index, (before, after)) in record.brokers.iter().enumerate() {
            let cpu_ns = after.cpu_ns_since(before) as f64;
            let (per_unit, busy) = (cpu_ns / 1000.0 / count, cpu_ns / 1e9 / record.seconds());
            let name = self.node_name(index);
            let text = format!("{name}: {per_unit:.3} µs CPU per {unit}, {busy:.2} CPUs busy");
            self.add_line("node", text);
            values.push(json!({
                "node": name,
                "cpu_us_per_unit": per_unit,
                "cpu_s": cpu_ns / 1e9,
                "resident_bytes_before": before.resident_bytes,
                "resident_bytes_after": after.resident_bytes,
            }));
        }
        self.add_value("nodes", values);
    }

    /// Adds what went from one node to another in the measured window, where there are several.
    pub fn add_crossed(&mut self, conducted: &Conducted) {
        let (nodes, crossed) = (self.nodes.len(), &conducted.outcome.crossed);
        let Some(window) = conducted.stage("measure").filter(|_| nodes > 1) else {
            return;
        };
        let per_second = |count: u64| count as f64 / window.seconds().max(1e-9);
        let at = |counts: &[u64], cell: usize| counts.get(cell).copied().unwrap_or(0);
        let (mut links, mut delivered, mut forwarded) = (Vec::new(), 0, 0);
        for cell in (0..nodes * nodes).filter(|cell| cell / nodes != cell % nodes) {
            let (to_clients, over) = (at(&crossed.delivered, cell), at(&crossed.forwarded, cell));
            if to_clients > 0 {
                links.push((cell / nodes, cell % nodes, to_clients, over));
            }
            delivered += to_clients;
            forwarded += over;
        }
        let share = delivered as f64 / conducted.outcome.window_received.max(1) as f64;
        let text = format!(
            "{}/s forwarded to another node, {}/s delivered there: {:.1} % of all",
            grouped(per_second(forwarded)),
            grouped(per_second(delivered)),
            share * 100.0
        );
        let value = |(from, to, delivered, forwarded): &(usize, usize, u64, u64)| {
            json!({
                "from": self.node_name(*from),
                "to": self.node_name(*to),
                "delivered": delivered,
                "forwarded": forwarded,
                "forwarded_per_s": per_second(*forwarded),
            })
        };
        let values: Vec<Value> = links.iter().map(value).collect();
        let value = json!({
            "delivered": delivered,
            "delivered_per_s": per_second(delivered),
            "forwarded": forwarded,
            "forwarded_per_s": per_second(forwarded),
            "share": share,
            "links": values,
        });
        self.add("crossed", "crossed", text, value);
        for (from, to, _, over) in &links {
            let (from, to) = (self.node_name(*from), self.node_name(*to));
            self.add_line(
                "link",
                format!("{from} to {to}: {}/s", grouped(per_second(*over))),
            );
        }
    }

    fn node_name(&self, index: usize) -> String {
        let name = self.nodes.get(index).cloned();
        name.unwrap_or_else(|| format!("node {}", index + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::procfs::Usage;

    fn conducted() -> Conducted {
        let mut conducted = Conducted::default();
        let usage = || (Usage::default(), Usage::default());
        conducted.stages.push(StageRecord {
            name: "measure".to_owned(),
            start_ns: 0,
            end_ns: 2_000_000_000,
            is_complete: true,
            brokers: vec![usage(), usage()],
            own: usage(),
        });
        conducted.outcome.window_received = 400;
        conducted.outcome.crossed.delivered = vec![100, 300, 0, 0];
        conducted.outcome.crossed.forwarded = vec![0, 30, 0, 0];
        conducted
    }

    #[test]
    fn what_crossed_is_told_by_link_and_in_all() {
        let mut report = Report::new("fan-out");
        report.set_nodes(vec!["a".to_owned(), "b".to_owned()]);
        report.add_crossed(&conducted());
        let value = &report.to_json()["crossed"];
        assert_eq!(value["delivered_per_s"], 150.0);
        assert_eq!(
            (&value["forwarded_per_s"], &value["share"]),
            (&json!(15.0), &json!(0.75))
        );
        let links = value["links"].as_array().map(Vec::len);
        assert_eq!((links, &value["links"][0]["to"]), (Some(1), &json!("b")));
        assert!(
            report.to_text().contains("a to b: 15/s"),
            "{}",
            report.to_text()
        );
    }

    #[test]
    fn one_node_has_no_such_lines() {
        let mut report = Report::new("fan-out");
        report.set_nodes(vec!["a".to_owned()]);
        report.add_crossed(&conducted());
        assert!(report.to_json().get("crossed").is_none());
    }

    #[test]
    fn each_broker_has_its_cost() {
        let mut report = Report::new("pairs");
        report.set_nodes(vec!["a".to_owned(), "b".to_owned()]);
        report.add_cost(&conducted().stages[0], "message", 10);
        let json = report.to_json();
        assert_eq!(
            (&json["nodes"][1]["node"], &json["broker"]["cpu_s"]),
            (&json!("b"), &json!(0.0))
        );
    }
}
