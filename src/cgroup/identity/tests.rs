//! Paths of other projects' tests, and our own.

use super::*;

/// A path, the runtime and the id of its container (`-` where the path does not say whose it is), and the uid of its pod.
type Row = (&'static str, Option<(&'static str, &'static str, &'static str)>);

#[track_caller]
fn check(rows: &[Row]) {
    for (path, expected) in rows {
        let found = Identity::of(path.as_bytes()).container;
        let found = found.as_ref().map(|found| {
            let pod = found.pod_uid.as_ref().map_or("", |uid| uid.to_str().unwrap());
            (found.runtime.map_or("-", Runtime::as_str), found.id.to_str().unwrap(), pod)
        });
        assert_eq!(found, *expected, "{path}");
    }
}

/// As they stand in the tests of others.
#[test]
fn containers_in_the_fixtures_of_other_projects() {
    check(&[
        // Datadog: dd-trace-java, ContainerInfoTest.groovy.
        (
            "/docker/3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860",
            Some(("docker", "3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860", "")),
        ),
        (
            "/kubepods/besteffort/pod3d274242-8ee0-11e9-a8a6-1e68d864ef1a/3e74d3fd9db4c9dd921ae05c2502fb984d0cde1b36e581b13f79c639da4518a1",
            Some((
                "-",
                "3e74d3fd9db4c9dd921ae05c2502fb984d0cde1b36e581b13f79c639da4518a1",
                "3d274242-8ee0-11e9-a8a6-1e68d864ef1a",
            )),
        ),
        (
            "/ecs/haissam-ecs-classic/5a0d5ceddf6c44c1928d367a815d890f/38fac3e99302b3622be089dd41e7ccf38aff368a86cc339972075136ee2710ce",
            Some(("ecs", "38fac3e99302b3622be089dd41e7ccf38aff368a86cc339972075136ee2710ce", "")),
        ),
        (
            "/ecs/55091c13-b8cf-4801-b527-f4601742204d/432624d2150b349fe35ba397284dea788c2bf66b885d14dfc1569b01890ca7da",
            Some(("ecs", "432624d2150b349fe35ba397284dea788c2bf66b885d14dfc1569b01890ca7da", "")),
        ),
        (
            "/ecs/34dc0b5e626f2c5c4c5170e34b10e765-1234567890",
            Some(("ecs", "34dc0b5e626f2c5c4c5170e34b10e765-1234567890", "")),
        ),
        // Datadog: libdatadog, entity_id.rs.
        (
            "/ecs/8cd79a803caf4d2aa945152e934a5c00/8cd79a803caf4d2aa945152e934a5c00-1053176469",
            Some(("ecs", "8cd79a803caf4d2aa945152e934a5c00-1053176469", "")),
        ),
        (
            "/kubepods.slice/kubepods-pod97f1ae73_7ad9_11ec_b4a7_9a35488b4fab.slice/3291bfddf3f3f8d87cb0cd1245fe9c45b2e1e5a9b6fe3de1bddf041aedaecbab",
            Some((
                "-",
                "3291bfddf3f3f8d87cb0cd1245fe9c45b2e1e5a9b6fe3de1bddf041aedaecbab",
                "97f1ae73-7ad9-11ec-b4a7-9a35488b4fab",
            )),
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod2d3da189_6407_48e3_9ab6_78188d75e609.slice/docker-7b8952daecf4c0e44bbcefe1b5c5ebc7b4839d4eefeccefe694709d3809b6199.scope",
            Some((
                "docker",
                "7b8952daecf4c0e44bbcefe1b5c5ebc7b4839d4eefeccefe694709d3809b6199",
                "2d3da189-6407-48e3-9ab6-78188d75e609",
            )),
        ),
        ("/docker/3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f86986", None),
        // OpenTelemetry: opentelemetry-java, ContainerResourceTest.java.
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod4415fd05_2c0f_4533_909b_f2180dca8d7c.slice/cri-containerd-713a77a26fe2a38ebebd5709604a048c3d380db1eb16aa43aca0b2499e54733c.scope",
            Some((
                "containerd",
                "713a77a26fe2a38ebebd5709604a048c3d380db1eb16aa43aca0b2499e54733c",
                "4415fd05-2c0f-4533-909b-f2180dca8d7c",
            )),
        ),
        (
            "/system.slice/containerd.service/kubepods-pod87a18a64_b74a_454a_b10b_a4a36059d0a3.slice:cri-containerd:05c48c82caff3be3d7f1e896981dd410e81487538936914f32b624d168de9db0",
            Some((
                "containerd",
                "05c48c82caff3be3d7f1e896981dd410e81487538936914f32b624d168de9db0",
                "87a18a64-b74a-454a-b10b-a4a36059d0a3",
            )),
        ),
        ("/podruntime/docker/kubepods/ac679f8a8319c8cf7d38e1adf263bc08d23zzzz", None),
        // SPIRE: k8s workload attestor, k8s_posix_test.go.
        (
            "/../../../burstable/pod095e82d2-713c-467a-a18a-cbb50a075296/6d1234da0f5aa7fa0ccae4c7d2d109929eb9a81694e6357bcd4547ab3985911b",
            Some((
                "-",
                "6d1234da0f5aa7fa0ccae4c7d2d109929eb9a81694e6357bcd4547ab3985911b",
                "095e82d2-713c-467a-a18a-cbb50a075296",
            )),
        ),
        (
            "/kubepods-besteffort-pod72f7f152_440c_66ac_9084_e0fc1d8a910c.slice:cri-containerd:b2a102854b4969b2ce98dc329c86b4fb2b06e4ad2cc8da9d8a7578c9cd2004a2",
            Some((
                "containerd",
                "b2a102854b4969b2ce98dc329c86b4fb2b06e4ad2cc8da9d8a7578c9cd2004a2",
                "72f7f152-440c-66ac-9084-e0fc1d8a910c",
            )),
        ),
        (
            "/../crio-45490e76e0878aaa4d9808f7d2eefba37f093c3efbba9838b6d8ab804d9bd814.scope",
            Some(("cri-o", "45490e76e0878aaa4d9808f7d2eefba37f093c3efbba9838b6d8ab804d9bd814", "")),
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod2c48913c-b29f-11e7-9350-020968147796.slice/docker-9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961.scope",
            Some((
                "docker",
                "9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961",
                "2c48913c-b29f-11e7-9350-020968147796",
            )),
        ),
        ("/kubepods/09bc3d7ade839efec32b6bec4ec79d099027a668ddba043083ec21d3c3b8f1e6", None),
        ("/09bc3d7ade839efec32b6bec4ec79d099027a668ddba043083ec21d3c3b8f1e6", None),
        ("/kubepods/pod2732ca68f6358eba7703fb6f82a25c94", None),
        // Coroot: coroot-node-agent, cgroup_test.go.
        ("/lxc/mysql-primary-db", Some(("lxc", "mysql-primary-db", ""))),
        (
            "/kubepods/besteffort/pod0d08203e-255a-11e9-8cd9-0007cb0b2cc8/671a50f5d60566556912f61511d0ec9e4d5c78d53fbc4676727180438bbbbc55/kube-proxy",
            Some((
                "-",
                "671a50f5d60566556912f61511d0ec9e4d5c78d53fbc4676727180438bbbbc55",
                "0d08203e-255a-11e9-8cd9-0007cb0b2cc8",
            )),
        ),
        (
            "/kubepods/burstable/pod9729a196c4723b60ab401eaff722982d/d166c6190614efc91956b78e96d74c3fbc96ca8e91948c36de3bc5b0e7b27d48",
            Some((
                "-",
                "d166c6190614efc91956b78e96d74c3fbc96ca8e91948c36de3bc5b0e7b27d48",
                "9729a196c4723b60ab401eaff722982d",
            )),
        ),
        (
            "/kubepods/poda48c12e8-255a-11e9-8cd9-0007cb0b2cc8/crio-63425c4a8b4291744a79dd9011fddc7a1f8ffda61f65d72196aa01d00cae2e2e",
            Some((
                "cri-o",
                "63425c4a8b4291744a79dd9011fddc7a1f8ffda61f65d72196aa01d00cae2e2e",
                "a48c12e8-255a-11e9-8cd9-0007cb0b2cc8",
            )),
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podea19ff5d_943a_4466_a07e_a71e9e50cc62.slice/crio-21572039dd8398ff8272b031fa5422a40165145ab37f2f8794e1e7f844fe8118.scope/container",
            Some((
                "cri-o",
                "21572039dd8398ff8272b031fa5422a40165145ab37f2f8794e1e7f844fe8118",
                "ea19ff5d-943a-4466-a07e-a71e9e50cc62",
            )),
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod3e61c214bc3ed9ff81e21474dd6cba17.slice/cri-containerd-c74b0f5062f0bc726cae1e9369ad4a95deed6b298d247f0407475adb23fa3190",
            Some((
                "containerd",
                "c74b0f5062f0bc726cae1e9369ad4a95deed6b298d247f0407475adb23fa3190",
                "3e61c214bc3ed9ff81e21474dd6cba17",
            )),
        ),
        // NeuVector: cgroup_test.go.
        (
            "/system.slice/docker-9ec39b91f3d70e1beff50a308f77067065ea6be0d91a3378375056cd4422cf3d.scope",
            Some(("docker", "9ec39b91f3d70e1beff50a308f77067065ea6be0d91a3378375056cd4422cf3d", "")),
        ),
        // Tetragon: exec_test.go.
        (
            "/kubepods-burstable-pod29349498_197c_4919_b13f_9a928e7d001b.slice:cri-containerd:0ca2b3cd20e5f55a2bbe8d4aa3f811cf7963b40f0542ad147054b0fcb60fc400",
            Some((
                "containerd",
                "0ca2b3cd20e5f55a2bbe8d4aa3f811cf7963b40f0542ad147054b0fcb60fc400",
                "29349498-197c-4919-b13f-9a928e7d001b",
            )),
        ),
    ]);
}

macro_rules! id {
    () => {
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    };
}

macro_rules! uid {
    () => {
        "5d8cb2a1-9f2b-4c3d-8e4f-0123456789ab"
    };
}

#[test]
fn containers_of_our_own() {
    check(&[
        (concat!("/machine.slice/libpod-", id!(), ".scope/container"), Some(("podman", id!(), ""))),
        (concat!("/libpod_parent/libpod-", id!()), Some(("podman", id!(), ""))),
        (concat!("/system.slice/web.service/libpod-payload-", id!()), Some(("podman", id!(), ""))),
        (
            concat!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-", id!(), ".scope"),
            Some(("podman", id!(), "")),
        ),
        (concat!("/system.slice/nerdctl-", id!(), ".scope"), Some(("nerdctl", id!(), ""))),
        (concat!("/system.slice:docker:", id!()), Some(("docker", id!(), ""))),
        (concat!("/system.slice/docker-", id!(), ".scope (deleted)"), Some(("docker", id!(), ""))),
        (concat!("/../../system.slice/docker-", id!(), ".scope/init.scope"), Some(("docker", id!(), ""))),
        (concat!("/docker/", id!(), "/system.slice/cafe.service"), Some(("docker", id!(), ""))),
        ("/lxc.payload.web-1/init.scope", Some(("lxc", "web-1", ""))),
        ("/lxc.payload/web-1", Some(("lxc", "web-1", ""))),
        ("/lxc/101/ns/system.slice/cron.service", Some(("lxc", "101", ""))),
        // The innermost.
        (concat!("/lxc.payload.web-1/system.slice/docker-", id!(), ".scope"), Some(("docker", id!(), ""))),
        (
            concat!(
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod5d8cb2a1_9f2b_4c3d_8e4f_0123456789ab.slice/cri-containerd-",
                id!(),
                ".scope"
            ),
            Some(("containerd", id!(), uid!())),
        ),
        (
            concat!(
                "/docker/3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860/kubelet/kubepods/pod",
                uid!(),
                "/",
                id!()
            ),
            Some(("-", id!(), uid!())),
        ),
        // None of these is one.
        ("", None),
        ("/", None),
        ("/..", None),
        ("/init.scope", None),
        ("/user.slice/user-1000.slice/session-2.scope", None),
        ("/system.slice/cafe.service", None),
        ("/system.slice/docker.service", None),
        ("/system.slice/containerd.service", None),
        ("/system.slice/system-getty.slice/getty@tty1.service", None),
        (concat!("/machine.slice/libpod-conmon-", id!(), ".scope"), None),
        (
            concat!(
                "/kubepods.slice/kubepods-pod5d8cb2a1_9f2b_4c3d_8e4f_0123456789ab.slice/crio-conmon-",
                id!(),
                ".scope"
            ),
            None,
        ),
        ("/user.slice/user-1000.slice/user@1000.service/user.slice/podman-pause-2f4b7e1c.scope", None),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/podman-1234.scope", None),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod5d8cb2a1_9f2b_4c3d_8e4f_0123456789ab.slice",
            None,
        ),
        ("/lxc.monitor.web-1", None),
        ("/lxc.payload.", None),
        ("/system.slice/lxc/web-1", None),
        ("/ecs/1234567890", None),
        ("/system.slice/docker-0123456789ab.scope", None),
        ("/docker/0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef", None),
        (concat!("/docker/buildkit/", id!()), None),
        (concat!("/system.slice/sha-", id!(), ".service"), None),
        (concat!("/pod/", id!()), None),
        ("/machine.slice/machine-qemu\\x2d1\\x2dvm.scope", None),
    ]);
}

#[test]
fn units_and_slices() {
    #[track_caller]
    fn check(path: &str, slice: &str, unit: &str, user_unit: &str) {
        let found = Identity::of(path.as_bytes());
        let text = |text: &Option<Text>| text.as_ref().map_or("", |text| text.to_str().unwrap()).to_owned();
        let found = (text(&found.slice), text(&found.unit), text(&found.user_unit));
        assert_eq!(found, (slice.to_owned(), unit.to_owned(), user_unit.to_owned()), "{path}");
    }
    check("/", "", "", "");
    check("/init.scope", "", "init.scope", "");
    check("/system.slice/nginx.service", "system.slice", "nginx.service", "");
    check("/system.slice/nginx.service/worker (deleted)", "system.slice", "nginx.service", "");
    check(
        "/system.slice/system-postgresql.slice/postgresql@9.4-main.service",
        "system-postgresql.slice",
        "postgresql@9.4-main.service",
        "",
    );
    check("/user.slice/user-1000.slice/session-2.scope", "user-1000.slice", "session-2.scope", "");
    check(
        "/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.gnome.Terminal.slice/vte-spawn-7.scope",
        "user-1000.slice",
        "user@1000.service",
        "vte-spawn-7.scope",
    );
    check("/user.slice/user-1000.slice/user@1000.service", "user-1000.slice", "user@1000.service", "");
    check("/system.slice/user@x.service/a.service", "system.slice", "user@x.service", "");
    // systemd escapes what means something to the kernel.
    check("/system.slice/_cpu.service", "system.slice", "cpu.service", "");
    check("/../../system.slice/cron.service", "system.slice", "cron.service", "");
    check("/system.slice", "system.slice", "", "");
    check("/system.slice/.service", "system.slice", "", "");
    // The units of a container's own systemd are not this one's.
    check(concat!("/docker/", id!(), "/system.slice/cron.service"), "", "", "");
    check("/system.slice/dev-hugepages.mount", "system.slice", "dev-hugepages.mount", "");
    check("/kubepods/burstable", "", "", "");
}

#[test]
fn texts() {
    let of = |path: &str| Identity::of(path.as_bytes()).container.unwrap().to_string();
    assert_eq!(of(concat!("/docker/", id!())), concat!("docker://", id!()));
    assert_eq!(of(concat!("/pod", uid!(), "/", id!())), id!());
    for runtime in [
        Runtime::Docker,
        Runtime::Containerd,
        Runtime::CriO,
        Runtime::Podman,
        Runtime::Nerdctl,
        Runtime::Lxc,
        Runtime::Ecs,
    ] {
        assert_eq!(serde_json::to_value(runtime).unwrap(), runtime.as_str());
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes(path: Vec<u8>) {
        let _ = Identity::of(&path);
    }
}
