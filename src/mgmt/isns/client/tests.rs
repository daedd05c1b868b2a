use super::*;
use crate::mgmt::isns::message::attributes;

fn wanted(names: &[&str]) -> Registration {
    Registration {
        entity: "box".into(),
        portals: vec!["10.0.0.1:3260".parse().unwrap()],
        inquiry_port: 4000,
        targets: names.iter().map(|name| Target { name: (*name).into(), alias: String::new() }).collect(),
        access_control: false,
    }
}

/// A client, a clock, and what the client has said.
struct Scene {
    client: Client,
    now: Instant,
}

impl Scene {
    fn new() -> Self {
        Scene { client: Client::new(Timing::default()), now: Instant::now() }
    }

    fn want(&mut self, wanted: Option<Registration>) -> Vec<Action> {
        self.client.want(wanted, self.now);
        self.client.take_actions()
    }

    fn pass(&mut self, time: Duration) -> Vec<Action> {
        self.now += time;
        self.client.expired(self.now);
        self.client.take_actions()
    }

    fn connected(&mut self) -> Vec<Action> {
        self.client.connected(self.now);
        self.client.take_actions()
    }

    /// Answers the request that is out, and tells what the client does then.
    fn answer(&mut self, status: u32, attributes: &[Attribute]) -> Vec<Action> {
        let (transaction, request, _) = self.client.out.clone().expect("a request is out");
        let function = self.client.message(&request).unwrap().function | function::RESPONSE;
        let mut body = status.to_be_bytes().to_vec();
        body.extend(Message::request(0, 0, attributes).body);
        self.client.received(&Message { function, transaction, replaces: false, body }, self.now);
        self.client.take_actions()
    }

    fn registered(&mut self, wanted: Registration) {
        self.want(Some(wanted));
        self.connected();
        self.answer(0, &[]);
    }
}

/// Function and attributes of the only thing that is sent.
fn sent(actions: &[Action]) -> (u16, Vec<Attribute>) {
    let sent: Vec<&Vec<u8>> = actions
        .iter()
        .filter_map(|action| if let Action::Send(bytes) = action { Some(bytes) } else { None })
        .collect();
    assert_eq!(sent.len(), 1, "{actions:?}");
    (u16::from_be_bytes([sent[0][2], sent[0][3]]), attributes(&sent[0][12..]).unwrap())
}

/// What is answered to the query for an entity: what was asked, and the entity.
fn known(entity: &str) -> [Attribute; 3] {
    let entity = Attribute::text(tag::ENTITY_IDENTIFIER, entity);
    [entity.clone(), Attribute::empty(tag::DELIMITER), entity]
}

fn names(attributes: &[Attribute]) -> Vec<&str> {
    let names = attributes.iter().filter(|attribute| attribute.tag == tag::ISCSI_NAME);
    names.map(|attribute| attribute.as_text().unwrap()).collect()
}

#[test]
fn a_target_is_registered_and_goes_again() {
    let mut scene = Scene::new();
    assert_eq!(scene.want(Some(wanted(&["iqn.a", "iqn.b"]))), [Action::Connect]);
    let (function, attributes) = sent(&scene.connected());
    assert_eq!(function, function::DEV_ATTR_REG);
    assert_eq!(names(&attributes), ["iqn.a", "iqn.a", "iqn.b"], "source, then both");
    scene.answer(0, &[]);
    let (function, attributes) = sent(&scene.want(Some(wanted(&["iqn.b"]))));
    assert_eq!((function, names(&attributes)), (function::DEV_ATTR_REG, vec!["iqn.b", "iqn.b"]));
    scene.answer(0, &[]);
    let (function, attributes) = sent(&scene.want(None));
    assert_eq!((function, names(&attributes)), (function::DEV_DEREG, vec!["iqn.b"]));
    assert_eq!(scene.answer(0, &[]), [Action::Disconnect]);
    assert!(scene.client.is_off() && scene.client.deadline().is_none());
}

#[test]
fn an_entity_with_another_name_takes_the_old_one_away() {
    let mut scene = Scene::new();
    scene.registered(wanted(&["iqn.a"]));
    let (function, attributes) =
        sent(&scene.want(Some(Registration { entity: "new".into(), ..wanted(&["iqn.a"]) })));
    assert_eq!(function, function::DEV_DEREG);
    assert_eq!(attributes.last().unwrap().as_text(), Some("box"));
    assert_eq!(sent(&scene.answer(0, &[])).0, function::DEV_ATTR_REG);
}

#[test]
fn without_targets_there_is_nothing_to_tell() {
    let mut scene = Scene::new();
    assert_eq!(scene.want(Some(wanted(&[]))), []);
    assert!(scene.client.is_off());
    scene.registered(wanted(&["iqn.a"]));
    assert_eq!(sent(&scene.want(Some(wanted(&[])))).0, function::DEV_DEREG);
}

#[test]
fn a_query_keeps_the_registration_alive() {
    let mut scene = Scene::new();
    scene.registered(wanted(&["iqn.a"]));
    for _ in 0..3 {
        assert_eq!(scene.pass(Duration::from_secs(29)), []);
        let (function, attributes) = sent(&scene.pass(Duration::from_secs(1)));
        assert_eq!((function, names(&attributes)), (function::DEV_ATTR_QRY, vec!["iqn.a"]));
        assert_eq!(scene.answer(0, &known("box")), []);
    }
}

#[test]
fn a_registration_that_the_server_has_forgotten_is_made_again() {
    let mut scene = Scene::new();
    scene.registered(wanted(&["iqn.a"]));
    for (status, attributes) in [(0, &known("box")[..2]), (9, &[][..])] {
        scene.pass(Duration::from_secs(30));
        assert_eq!(sent(&scene.answer(status, attributes)).0, function::DEV_ATTR_REG);
        scene.answer(0, &[]);
    }
}

#[test]
fn a_server_that_is_away_is_tried_again_ever_more_seldom() {
    let mut scene = Scene::new();
    scene.want(Some(wanted(&["iqn.a"])));
    let mut rests = Vec::new();
    for _ in 0..8 {
        scene.client.failed("refused", scene.now);
        assert!(scene.client.take_actions().contains(&Action::Disconnect));
        let rest = scene.client.deadline().unwrap() - scene.now;
        rests.push(rest.as_secs());
        assert_eq!(scene.pass(rest), [Action::Connect]);
    }
    assert_eq!(rests, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(sent(&scene.connected()).0, function::DEV_ATTR_REG);
    scene.answer(0, &[]);
    scene.client.failed("gone", scene.now);
    assert_eq!(scene.client.deadline().unwrap() - scene.now, Duration::from_secs(1));
}

#[test]
fn a_silent_or_unwilling_server_is_left_and_tried_again() {
    let mut scene = Scene::new();
    scene.want(Some(wanted(&["iqn.a"])));
    scene.connected();
    assert_eq!(scene.pass(Duration::from_secs(9)), []);
    assert!(scene.pass(Duration::from_secs(1)).contains(&Action::Disconnect));
    scene.pass(Duration::from_secs(1));
    scene.connected();
    assert!(scene.answer(6, &[]).contains(&Action::Disconnect));
    scene.pass(Duration::from_secs(2));
    let first = scene.connected();
    assert_eq!(sent(&first).0, function::DEV_ATTR_REG);
}

#[test]
fn answers_to_other_questions_are_not_taken() {
    let mut scene = Scene::new();
    scene.want(Some(wanted(&["iqn.a"])));
    scene.connected();
    let stray = Message { function: 0x8001, transaction: 99, replaces: false, body: vec![0; 4] };
    scene.client.received(&stray, scene.now);
    assert_eq!(scene.client.take_actions(), []);
    let broken = Message { transaction: 1, body: vec![0; 3], ..stray };
    scene.client.received(&broken, scene.now);
    assert!(scene.client.take_actions().contains(&Action::Disconnect));
}

#[test]
fn the_server_says_who_may_log_in() {
    let mut scene = Scene::new();
    scene.want(Some(Registration { access_control: true, ..wanted(&["iqn.a"]) }));
    scene.connected();
    assert_eq!(sent(&scene.answer(0, &[])).0, function::SCN_REG);
    let (function, asked) = sent(&scene.answer(0, &[]));
    assert_eq!(function, function::DEV_ATTR_QRY);
    assert!(asked.contains(&Attribute::number(tag::ISCSI_NODE_TYPE, node_type::INITIATOR)));
    let found = [
        Attribute::number(tag::ISCSI_NODE_TYPE, node_type::INITIATOR),
        Attribute::empty(tag::DELIMITER),
        Attribute::text(tag::ISCSI_NAME, "iqn.I"),
        Attribute::number(tag::ISCSI_NODE_TYPE, node_type::INITIATOR),
        Attribute::text(tag::ISCSI_NAME, "iqn.j"),
    ];
    let names = vec!["iqn.i".to_owned(), "iqn.j".to_owned()];
    assert_eq!(scene.answer(0, &found), [Action::Initiators { target: "iqn.a".into(), names }]);
    scene.client.notified(scene.now);
    let asked = sent(&scene.client.take_actions()).0;
    assert_eq!(asked, function::DEV_ATTR_QRY, "a notification makes it ask again");
}

#[test]
fn rfc4171_5_7_5_2_no_such_entry_is_nobody() {
    let mut scene = Scene::new();
    scene.want(Some(Registration { access_control: true, ..wanted(&["iqn.a", "iqn.b"]) }));
    scene.connected();
    for _ in ["registration", "iqn.a", "iqn.b"] {
        scene.answer(0, &[]);
    }
    let actions = scene.answer(9, &[]);
    assert_eq!(actions[0], Action::Initiators { target: "iqn.a".into(), names: Vec::new() });
    assert_eq!(sent(&actions).0, function::DEV_ATTR_QRY, "the other target is asked for all the same");
}

#[test]
fn nothing_wanted_ends_an_attempt() {
    let mut scene = Scene::new();
    scene.want(Some(wanted(&["iqn.a"])));
    assert_eq!(scene.want(None), [Action::Disconnect]);
    assert!(scene.client.is_off());
    scene.registered(wanted(&["iqn.a"]));
    scene.client.failed("gone", scene.now);
    scene.want(None);
    scene.pass(Duration::from_secs(1));
    assert_eq!(sent(&scene.connected()).0, function::DEV_DEREG, "the server still knows it");
    scene.client.failed("gone", scene.now);
    assert!(scene.client.is_off());
}
