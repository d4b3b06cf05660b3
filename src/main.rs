//! ShardMQ.
use shards::settings::*;
fn main() {
    let cpus: Vec<usize> = std::env::args().nth(1).map_or(vec![0], |a| a.split(',').map(|c| c.parse().unwrap()).collect());
    let port: u16 = std::env::args().nth(2).map_or(1883, |a| a.parse().unwrap());
    let s = Settings { cpus, listeners: vec![Listener { name: "default".into(), bind: ([127,0,0,1], port).into(), backlog: 1024, max_connections: 0 }], engine: Engine::default(), mqtt: Mqtt::default(), allow_anonymous: true, hash_seed: 1 };
    shards::start(&s).unwrap().wait().unwrap();
}
