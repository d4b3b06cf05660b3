use shards::settings::{Allowance, Listener};

use super::*;
use crate::config::cpu_list::CpuList;
use crate::failure::Failure;
use crate::host::cpus::Cpus;
use crate::host::interrupts::Interrupt;
use crate::host::kernel::Kernel;
use crate::host::system::Limit;
use crate::start::placement::Placement;

fn list(text: &str) -> CpuList {
    text.parse().unwrap()
}

/// A machine on which nothing is left to do: eight CPUs, the last one for control.
fn good() -> Facts {
    Facts {
        kernel: Kernel {
            release: "6.18.0".to_owned(),
            ..Kernel::default()
        },
        uring: Ok(()),
        open_files: Some(Limit {
            soft: 1 << 20,
            hard: 1 << 20,
        }),
        open_files_max: Some(1 << 30),
        locked_memory: Some(Limit {
            soft: Limit::UNLIMITED,
            hard: Limit::UNLIMITED,
        }),
        port_range: Some((1024, 65535)),
        reserved_ports: "1883,8000-8999".to_owned(),
        accept_backlog: Some(4096),
        syn_backlog: Some(4096),
        cpus: Cpus {
            online: list("0-7"),
            allowed: list("0-7"),
        },
        placement: Ok(Placement {
            shards: list("0-6"),
            control: list("7"),
        }),
        governors: vec!["performance".to_owned()],
        smt_groups: Vec::new(),
        numa_nodes: vec![(0, list("0-7"))],
        interrupts: vec![Interrupt {
            interface: "eth0".to_owned(),
            number: 41,
            cpus: list("7"),
        }],
        huge_pages: Some("always [madvise] never".to_owned()),
        listeners: vec![Listener {
            name: "default".to_owned(),
            bind: "0.0.0.0:1883".parse().unwrap(),
            backlog: 4096,
            max_connections: 0,
            connections: Allowance::default(),
            messages: Allowance::default(),
            bytes: Allowance::default(),
        }],
    }
}

/// The one item that a machine is not good for.
fn only(facts: &Facts) -> (Status, &'static str, String) {
    let items = Report::of(facts).items;
    let mut bad: Vec<Item> = items
        .into_iter()
        .filter(|item| item.status != Status::Ok)
        .collect();
    assert_eq!(bad.len(), 1, "{bad:#?}");
    let item = bad.remove(0);
    (item.status, item.name, item.command.unwrap())
}

fn advice(name: &'static str, command: &str) -> (Status, &'static str, String) {
    (Status::Advice, name, command.to_owned())
}

#[test]
fn a_good_machine_needs_nothing() {
    let report = Report::of(&good());
    assert!(
        report.items.iter().all(|item| item.status == Status::Ok),
        "{report}"
    );
    assert_eq!(report.exit_code(), ExitCode::SUCCESS);
    assert_eq!(report.to_string().lines().count(), report.items.len());
}

#[test]
fn an_old_kernel_is_a_problem() {
    let kernel = Kernel {
        release: "5.15.0-91-generic".to_owned(),
        ..Kernel::default()
    };
    let facts = Facts { kernel, ..good() };
    let report = Report::of(&facts);
    assert_eq!(report.items[0].status, Status::Problem);
    assert_eq!(report.exit_code(), ExitCode::FAILURE);
}

#[test]
fn a_ring_that_is_refused_is_a_problem_with_its_command() {
    let failure = Failure::new("io_uring is disabled")
        .command("sudo sysctl -w kernel.io_uring_disabled=0")
        .advise("or allow a group");
    let (status, name, command) = only(&Facts {
        uring: Err(failure),
        ..good()
    });
    assert_eq!((status, name), (Status::Problem, "io_uring"));
    assert_eq!(command, "sudo sysctl -w kernel.io_uring_disabled=0");
}

#[test]
fn few_open_files_are_advice_and_hardly_any_a_problem() {
    let few = |hard| Facts {
        open_files: Some(Limit { soft: hard, hard }),
        ..good()
    };
    let command = "sudo prlimit --pid $$ --nofile=1048576:1048576";
    assert_eq!(only(&few(20_000)), advice("open files", command));
    assert_eq!(only(&few(100)).0, Status::Problem);
    let facts = Facts {
        open_files_max: Some(1000),
        ..few(1000)
    };
    assert!(
        only(&facts)
            .2
            .starts_with("sudo sysctl -w fs.nr_open=1048576 && ")
    );
}

#[test]
fn little_locked_memory_is_a_problem_below_what_starts() {
    let limited = |hard| Facts {
        locked_memory: Some(Limit { soft: hard, hard }),
        ..good()
    };
    assert_eq!(only(&limited(64 << 10)).0, Status::Problem);
    assert_eq!(only(&limited(1 << 20)).0, Status::Advice);
}

#[test]
fn ports_for_outgoing_connections_spare_the_listeners() {
    let facts = Facts {
        port_range: Some((32768, 60999)),
        reserved_ports: String::new(),
        ..good()
    };
    let command = "sudo sysctl -w net.ipv4.ip_local_reserved_ports=1883 \
                   net.ipv4.ip_local_port_range=\"1024 65535\"";
    assert_eq!(only(&facts), advice("port range", command));
    let facts = Facts {
        reserved_ports: "8883".to_owned(),
        ..good()
    };
    let command = "sudo sysctl -w net.ipv4.ip_local_reserved_ports=8883,1883";
    assert_eq!(only(&facts), advice("reserved ports", command));
}

#[test]
fn short_backlogs_are_advice() {
    let facts = Facts {
        accept_backlog: Some(128),
        ..good()
    };
    assert_eq!(
        only(&facts),
        advice("accept backlog", "sudo sysctl -w net.core.somaxconn=4096")
    );
    let facts = Facts {
        syn_backlog: Some(128),
        ..good()
    };
    let command = "sudo sysctl -w net.ipv4.tcp_max_syn_backlog=4096";
    assert_eq!(only(&facts), advice("SYN backlog", command));
}

#[test]
fn shards_that_cannot_be_placed_are_a_problem() {
    let facts = Facts {
        placement: Err(Failure::new("no CPU 9")),
        ..good()
    };
    assert_eq!(
        only(&facts),
        (Status::Problem, "shards", "shardmq --cpus 0-7".to_owned())
    );
}

#[test]
fn a_governor_that_saves_power_is_advice() {
    let facts = Facts {
        governors: vec!["powersave".to_owned()],
        ..good()
    };
    assert_eq!(only(&facts).1, "CPU governor");
    let facts = Facts {
        governors: Vec::new(),
        ..good()
    };
    assert!(
        Report::of(&facts)
            .items
            .iter()
            .all(|item| item.status == Status::Ok)
    );
}

#[test]
fn shards_that_share_a_core_are_told_apart() {
    let facts = Facts {
        smt_groups: vec![list("0,4"), list("1,5"), list("6-7")],
        ..good()
    };
    assert_eq!(only(&facts), advice("SMT", "shardmq --cpus 0-3,6"));
}

#[test]
fn shards_on_two_nodes_are_pointed_out() {
    let facts = Facts {
        numa_nodes: vec![(0, list("0-3")), (1, list("4-7"))],
        ..good()
    };
    assert_eq!(only(&facts), advice("NUMA", "shardmq --cpus 0-3"));
}

#[test]
fn interrupts_move_to_the_control_cpus_if_there_are_any() {
    let on = |cpus| Interrupt {
        interface: "eth0".to_owned(),
        number: 41,
        cpus: list(cpus),
    };
    let facts = Facts {
        interrupts: vec![on("2")],
        ..good()
    };
    let command = "for irq in 41; do echo 7 | sudo tee /proc/irq/$irq/smp_affinity_list; done";
    assert_eq!(only(&facts), advice("network interrupts", command));
    let placement = Ok(Placement {
        shards: list("0-7"),
        control: list(""),
    });
    let facts = Facts { placement, ..facts };
    assert!(
        Report::of(&facts)
            .items
            .iter()
            .all(|item| item.status == Status::Ok)
    );
}

#[test]
fn huge_pages_for_everybody_are_advice() {
    let facts = Facts {
        huge_pages: Some("[always] madvise never".to_owned()),
        ..good()
    };
    assert_eq!(only(&facts).1, "huge pages");
}

#[test]
fn the_report_for_programs_is_json() {
    let json: serde_json::Value = serde_json::from_str(&Report::of(&good()).json()).unwrap();
    assert_eq!(json["items"][0]["name"], "kernel");
    assert_eq!(json["items"][0]["status"], "ok");
    assert!(json["items"][0].get("command").is_none());
}
