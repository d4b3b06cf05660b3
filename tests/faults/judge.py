"""What the records say."""

import os
import time
from collections import Counter

from brokers import within
from clients import Subscriber
from duel import at_once, exclusive

# For so long after SUBACK other nodes may not know of a subscription.
SETTLE_SECONDS = 1


class Judge:
    """Looks at a world that is quiet. Each line of `failures` is something that must not be."""

    def __init__(self, world):
        self.world, self.failures, self.numbers = world, list(world.troubles), Counter()
        self.given_up = {at for at in world.hit if world.is_cold or world.given_up(at)}

    def fail(self, column, text, count=1):
        self.numbers[column] += count
        self.failures.append(text)

    def note(self, text):
        """Something to look at that may be as the documents say."""
        if text not in self.world.notes:
            self.world.notes.append(text)

    def all(self):
        self.numbers["sent"] = sum(len(one.acknowledged) for one in self.world.publishers)
        for subscriber in self.world.subscribers:
            self.judge_messages(subscriber)
            self.judge_sessions(subscriber)
        for member in sum(self.world.groups.values(), []):
            self.judge_sessions(member)
        self.judge_groups()
        self.judge_wills()
        self.judge_delayed()
        self.judge_retained()
        self.judge_owners()
        self.judge_routes()
        self.judge_logs()
        return self

    # ---- Messages.

    def spans(self, subscriber):
        """When a subscriber was owed what is published: not while its node was given up."""
        world, spans = self.world, []
        for begin, end in subscriber.covered(SETTLE_SECONDS):
            at = subscriber.where(world.fault_began) if world.fault_began else None
            moved = world.fault_began and subscriber.wanders and end > world.fault_began
            if at in self.given_up or moved and self.given_up:
                spans.append((begin, min(end, world.hit.get(at, world.fault_began))))
                spans.append((max(begin, world.settled_at + SETTLE_SECONDS), end))
            else:
                spans.append((begin, end))
        return spans

    def judge_messages(self, subscriber):
        came = {}
        for time, _, who, number, qos in subscriber.received:
            came.setdefault(who, []).append((number, qos, time))
        spans = self.spans(subscriber)
        for publisher in self.world.publishers:
            if publisher.retain:
                continue
            found = came.get(publisher.name, [])
            self.judge_order(subscriber, publisher, found)
            if publisher.qos == 0:
                continue
            self.judge_loss(subscriber, publisher, {number for number, _, _ in found}, spans)
            if publisher.qos == 2 and subscriber.qos == 2:
                self.judge_twice(subscriber, publisher, found)

    def judge_loss(self, subscriber, publisher, found, spans):
        missing = [number for number in publisher.acknowledged if number not in found]
        lost = []
        for number in missing:
            sent, acknowledged = publisher.sent[number], publisher.acknowledged[number]
            if any(begin <= sent and acknowledged <= end for begin, end in spans):
                lost.append(number)
            else:
                self.numbers["gap" if not subscriber.clean else "gap of clean"] += 1
        if lost:
            when = publisher.acknowledged[lost[0]] - self.world.zero()
            self.fail(
                "lost", f"{subscriber.name} lost {len(lost)} of {publisher.name}: "
                f"{lost[:5]}, the first acknowledged at {when:+.2f} s", len(lost))
            if subscriber.wanders:
                self.note(f"{subscriber.name} was on {self.places(subscriber)}")

    def judge_twice(self, subscriber, publisher, found):
        counts = Counter(number for number, _, _ in found)
        twice = [one for one, count in counts.items()
                 if count > 1 and one not in publisher.ambiguous]
        if not twice:
            return
        text = f"{subscriber.name} got {len(twice)} of QoS 2 twice from {publisher.name}: " \
               f"{twice[:5]}"
        if subscriber.wanders:
            self.numbers["moved twice"] += len(twice)
            self.note(f"moved: {text}, {self.moves(subscriber, found, twice[0])}")
        else:
            self.fail("twice", text, len(twice))

    def judge_order(self, subscriber, publisher, found):
        numbers = [number for number, _, _ in found]
        first = list(dict.fromkeys(numbers))
        back = [later for earlier, later in zip(first, first[1:]) if later < earlier]
        if not back:
            return
        if subscriber.wanders or publisher.wanders:
            self.numbers["moved order"] += len(back)
            self.note(f"moved: {subscriber.name} got {back[:5]} of {publisher.name} too late, "
                      f"{self.moves(subscriber, found, back[0])}")
        else:
            self.fail("order", f"{subscriber.name} got {back[:5]} of {publisher.name} too late",
                      len(back))

    def moves(self, subscriber, found, number):
        """When a number came, and where the subscriber was."""
        zero = self.world.zero()
        came = [f"{at - zero:+.3f}" for one, _, at in found if one == number]
        return f"{number} came at {' '.join(came)}; it was on {self.places(subscriber)}"

    def places(self, subscriber):
        """Where a subscriber was, and when it began anew."""
        zero = self.world.zero()
        ups = [f"{at - zero:+.3f} node {node + 1}{'' if present else ' anew'}"
               for at, node, present in subscriber.ups]
        return ", ".join(ups)

    def judge_sessions(self, subscriber):
        """A kept session is there whenever its client comes back, but from a dead node."""
        for (_, before, _), (up, _, present) in zip(subscriber.ups, subscriber.ups[1:]):
            if subscriber.clean or present:
                continue
            if self.world.is_lost(before):
                self.numbers["new sessions"] += 1
                self.note(f"{subscriber.name} comes from node {before + 1} at "
                          f"{up - self.world.zero():+.2f} s without its session")
            else:
                self.fail("session", f"{subscriber.name} comes from node {before + 1} at "
                          f"{up - self.world.zero():+.2f} s without its session")

    def judge_groups(self):
        """Each message to one member of a group."""
        world = self.world
        for group, members in world.groups.items():
            counts = Counter(
                (who, number) for member in members for _, _, who, number, _ in member.received)
            # A member whose session has ended meanwhile had it, and no other may get it
            # [MQTT-4.8.2-5].
            cut_short = set().union(*(member.cut_short for member in members))
            begin = max(member.covered(SETTLE_SECONDS)[0][0] for member in members)
            until = world.settled_at + 4 if self.given_up else 0
            since = world.fault_began - 4 if world.fault_began else 0
            for publisher in world.publishers:
                if publisher.retain or publisher.qos == 0:
                    continue
                for number, at in publisher.acknowledged.items():
                    times = counts[publisher.name, number]
                    sent = publisher.sent[number]
                    if sent < begin or times == 1 or times > 1 and publisher.qos == 1:
                        continue
                    if times == 0 and (publisher.name, number) in cut_short:
                        self.numbers["group cut short"] += 1
                    elif since < at and sent < until or number in publisher.ambiguous:
                        self.numbers["group gap" if times == 0 else "group twice"] += 1
                    else:
                        self.fail("group", f"group {group} got {publisher.name} {number} "
                                  f"{times} times, acknowledged {at - world.zero():+.2f} s")

    # ---- What comes by itself.

    def watchers(self):
        """Subscribers whose node was never given up."""
        return [one for one in self.world.subscribers
                if not one.wanders and one.node not in self.given_up
                and one.node not in self.world.killed and not self.world.is_cold]

    def judge_wills(self):
        for will in self.world.wills:
            if not getattr(will, "was_broken", False):
                continue
            expected = 0 if will.kind == "back" else 1
            for watcher in self.watchers():
                came = sum(who == will.name for _, _, who, _, _ in watcher.received)
                if came != expected:
                    self.fail("will", f"{watcher.name} got the will of {will.name} {came} times")

    def judge_delayed(self):
        for watcher in self.watchers():
            came = Counter(topic for _, topic, *_ in watcher.received if topic[:2] == "d/")
            for at in self.world.delayed:
                if came[f"d/{at + 1}"] != 1 and at not in self.world.folders_lost:
                    self.fail("delayed", f"{watcher.name} got the delayed message of node "
                              f"{at + 1} {came[f'd/{at + 1}']} times")

    def judge_retained(self):
        readers = [Subscriber(self.world, f"reader-{node + 1}", node, True, 1, ["r/#"]).start()
                   for node in self.world.reachable()]
        within(15, lambda: all(one.subscribed for one in readers))
        found = {}

        def alike():
            for one in readers:
                found[one.name] = {topic: f"{who} {number}"
                                   for _, topic, who, number, _ in one.received}
            values = list(found.values())
            return values[0] and all(one == values[0] for one in values)

        if not within(5, alike):
            self.fail("retained", f"retained messages differ: {found}")
        for one in readers:
            one.end()
        values = found[readers[0].name]
        for publisher in self.world.publishers:
            if not publisher.topic.startswith("r/r"):
                continue
            _, _, number = values.get(publisher.topic, "x 0").partition(" ")
            newest = max(publisher.acknowledged, default=0)
            if int(number) < newest:
                self.fail("retained", f"{publisher.topic} is {number}, {newest} was acknowledged")

    # ---- Who has what.

    def judge_owners(self):
        for duel in self.world.duels:
            if duel.other is None or duel.at in self.world.killed:
                continue
            live = duel.live()
            if live != 1:
                self.fail("owner", f"{duel.name}, of node {duel.at + 1}, then {duel.other + 1}, "
                          f"has {live} owners")
        for number in range(3):
            live, let_in = at_once(self.world, f"at-once-{number}")
            if live != 1:
                self.fail("owner", f"connected on all nodes at once: {live} of {let_in} live")
            granted = exclusive(self.world, f"e/{number}")
            if granted != 1:
                self.fail("exclusive", f"{granted} have an exclusive subscription at once")
        challenged = [duel for duel in self.world.duels if duel.other is not None]
        self.numbers["moved owners"] = sum(duel.second is not None for duel in challenged)

    def judge_routes(self):
        wrong = []

        def converged():
            wrong.clear()
            topology = self.world.topology() or {}
            for node in self.world.nodes:
                path = f"/subscriptions?limit=10000&node={node.name}"
                answer = node.ask(path) or {"data": []}
                mine = len({one["topic"] for one in answer["data"]})
                for name, other in topology.items():
                    for link in other["links"]:
                        if link["node"] == node.name and link["routes"] != mine:
                            wrong.append(f"{name} has {link['routes']} routes to {node.name}, "
                                         f"which has {mine}")
            return bool(topology) and not wrong

        if not within(10, converged):
            self.fail("routes", "; ".join(wrong[:3]) or "no topology", len(wrong) or 1)

    def judge_logs(self):
        for node in self.world.nodes:
            with open(node.log, errors="replace") as log:
                bad = [line.strip() for line in log if "panic" in line or " ERROR " in line]
            if bad:
                self.fail("log", f"{os.path.basename(node.folder)}: {bad[0]}", len(bad))
        self.numbers["seconds"] = round(time.monotonic() - self.world.began)
