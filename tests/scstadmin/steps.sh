# What scstadmin does with the files of the tree, one step after the other: bash steps.sh DISK
# Prints what it finds; what a write is refused with is printed behind it.
set -u
export LC_ALL=C
disk=$1
cd /sys/kernel/scst_tgt || exit 1

# One write, without truncating, of exactly these bytes.
put() {
    local file=$1 error
    error=$(printf "$2" | dd of="$file" bs=4096 conv=notrunc status=none 2>&1) ||
        echo "${file##*targets/}: $(printf "$2" | tr '\n' ' ')-> ${error##*: }"
}

# A value and whether it is to be saved: the first line, and the mark in the second.
show() {
    local file line mark
    for file in "$@"; do
        mapfile -t lines <"$file"
        line=${lines[0]-} mark=
        [ "${lines[1]-}" = '[key]' ] && mark=' (saved)'
        echo "$file: $line$mark"
    done
}

names() { echo "$1:" $(cd "$1" && ls); }

# The start of every call: everything is read.
collect() {
    local entry target
    for entry in *; do [ -d "$entry" ] || cat "$entry" >/dev/null; done
    [[ $(head -1 version) =~ [0-9]+\.[0-9]+\.[0-9]+ ]] || echo "no version"
    for entry in handlers/*/ devices/*/ targets/*/ targets/*/*/ device_groups/*/; do
        [ -d "$entry" ] && find "$entry" -maxdepth 1 -type f -perm /0444 -exec cat {} + >/dev/null
    done
    for target in targets/*/*/; do
        for entry in luns ini_groups sessions; do [ -d "$target$entry" ] || echo "no $target$entry"; done
    done
}

collect
echo "== capabilities"
for handler in vdisk_fileio vdisk_nullio; do
    grep -q '^The following parameters available: .*blocksize' handlers/$handler/mgmt || echo "$handler: none"
done
grep '^The following target' targets/iscsi/mgmt
stat -c '%n %a %s' targets/iscsi/mgmt handlers/vdisk_fileio/type last_sysfs_mgmt_res setup_id

echo "== devices"
put handlers/vdisk_fileio/mgmt "add_device disk1 filename=$disk;nv_cache=1;"
put handlers/vdisk_fileio/mgmt "add_device disk1 filename=$disk;"
put handlers/vdisk_fileio/mgmt "add_device disk2 filename=/none/at/all;"
put handlers/vdisk_fileio/mgmt "add_device disk3 nosuch=1;"
put handlers/vdisk_nullio/mgmt "add_device disk2 blocksize=4096;size_mb=8;"
put handlers/vdisk_nullio/mgmt "add_device dummy dummy=1;"
put devices/disk1/t10_dev_id "a-name-of-12"
put devices/disk1/nv_cache 0
put devices/disk1/resync_size 1
show devices/disk1/{filename,nv_cache,read_only,size,size_mb,t10_dev_id} devices/disk2/{blocksize,size}
readlink devices/disk1/handler handlers/vdisk_fileio/disk1
stat -c '%n %a' devices/disk1/{filename,nv_cache,resync_size,t10_dev_id,type}

echo "== targets"
one=iqn.2026-01.test:one two=iqn.2026-01.test:two
put targets/iscsi/mgmt "add_target $one "
put targets/iscsi/mgmt "add_target $one "
put targets/iscsi/mgmt "add_target $two "
put targets/iscsi/mgmt "add_attribute IncomingUser finder 12charsecret"
put targets/iscsi/mgmt "add_target_attribute $one IncomingUser joe 12charsecret"
put targets/iscsi/mgmt "add_target_attribute $one IncomingUser jim 12charsecret"
put targets/iscsi/mgmt "add_target_attribute $one OutgoingUser me 12charsecreT"
put targets/iscsi/mgmt "add_target_attribute $one IncomingUser short tiny"
put targets/iscsi/mgmt "add_target_attribute $one allowed_portal 127.*"
put targets/iscsi/mgmt "nonsense"
put targets/iscsi/$one/MaxBurstLength 65536
put targets/iscsi/$one/MaxBurstLength 1
put targets/iscsi/$one/HeaderDigest CRC32C,None
put targets/iscsi/$one/QueuedCommands ":default:"
show targets/iscsi/IncomingUser targets/iscsi/$one/{IncomingUser,IncomingUser1,OutgoingUser,allowed_portal}
show targets/iscsi/$one/{MaxBurstLength,HeaderDigest,QueuedCommands,enabled,rel_tgt_id,tid}
stat -c '%n %a' targets/iscsi/$one/IncomingUser

echo "== groups and LUNs"
put targets/iscsi/$one/luns/mgmt "add dummy 0 "
put targets/iscsi/$one/luns/mgmt "add disk1 0 "
put targets/iscsi/$one/luns/mgmt "add nosuch 1 "
put targets/iscsi/$one/ini_groups/mgmt "create hosts"
put targets/iscsi/$one/ini_groups/mgmt "create hosts"
put targets/iscsi/$one/ini_groups/hosts/initiators/mgmt "add iqn.1993-08.org.debian:*"
put targets/iscsi/$one/ini_groups/hosts/initiators/mgmt "add iqn.1993-08.org.debian:*"
put targets/iscsi/$one/ini_groups/hosts/initiators/mgmt "add iqn.1991-05.com.microsoft:x"
put targets/iscsi/$one/ini_groups/mgmt "create spare"
put targets/iscsi/$one/ini_groups/hosts/initiators/mgmt "move iqn.1991-05.com.microsoft:x spare"
put targets/iscsi/$one/ini_groups/hosts/luns/mgmt "add disk1 0 read_only=1;"
put targets/iscsi/$one/ini_groups/hosts/luns/mgmt "add disk2 5 "
put targets/iscsi/$one/ini_groups/hosts/luns/mgmt "replace disk1 5 "
put targets/iscsi/$one/ini_groups/hosts/cpu_mask "x"
put targets/iscsi/$one/ini_groups/hosts/addr_method "FLAT\n"
put targets/iscsi/$two/luns/mgmt "add disk2 0 "
names targets/iscsi/$one/luns
names targets/iscsi/$one/ini_groups/hosts/luns
names targets/iscsi/$one/ini_groups/hosts/initiators
names targets/iscsi/$one/ini_groups/spare/initiators
show targets/iscsi/$one/ini_groups/hosts/luns/{0,5}/read_only targets/iscsi/$one/ini_groups/hosts/addr_method
readlink targets/iscsi/$one/ini_groups/hosts/luns/0/device
ls devices/disk1/exported | while read -r export; do readlink "devices/disk1/exported/$export"; done | grep iscsi
stat -c '%n %a' targets/iscsi/$one/ini_groups/hosts/initiators/iqn.1993* targets/iscsi/$one/luns/0/read_only

echo "== device groups"
put device_groups/mgmt "create dg"
put device_groups/mgmt "create dg"
put device_groups/dg/devices/mgmt "add disk1"
put device_groups/dg/devices/mgmt "add nosuch"
put device_groups/dg/target_groups/mgmt "add near"
put device_groups/dg/target_groups/near/mgmt "add $one"
put device_groups/dg/target_groups/near/mgmt "add iqn.2026-01.test:far"
put device_groups/dg/target_groups/near/iqn.2026-01.test:far/rel_tgt_id "7\n"
put device_groups/dg/target_groups/near/group_id "256\n"
put device_groups/dg/target_groups/near/state "nonoptimized\n"
put device_groups/dg/target_groups/near/state "sideways\n"
show device_groups/dg/target_groups/near/{group_id,preferred,state,iqn.2026-01.test:far/rel_tgt_id}
readlink device_groups/dg/devices/disk1 device_groups/dg/target_groups/near/$one

echo "== enabling"
put targets/iscsi/$one/enabled 1
put targets/iscsi/$two/enabled 1
put targets/iscsi/enabled "1\n"
put targets/iscsi/$two/rel_tgt_id 1
show targets/iscsi/{enabled,$one/enabled,$one/rel_tgt_id,$two/rel_tgt_id} last_sysfs_mgmt_res
collect

echo "== taking it away"
put device_groups/mgmt "del dg"
put targets/iscsi/$one/ini_groups/hosts/luns/mgmt clear
put targets/iscsi/$one/ini_groups/hosts/initiators/mgmt clear
put targets/iscsi/$one/ini_groups/mgmt "del hosts"
put targets/iscsi/$one/ini_groups/mgmt "del spare"
put targets/iscsi/$one/ini_groups/mgmt "del spare"
put targets/iscsi/mgmt "del_attribute IncomingUser finder"
put targets/iscsi/mgmt "del_attribute IncomingUser finder"
put targets/iscsi/$one/enabled 0
put targets/iscsi/mgmt "del_target $one"
put targets/iscsi/mgmt "del_target $two"
put targets/iscsi/mgmt "del_target $two"
for device in disk1:fileio disk2:nullio dummy:nullio; do
    put handlers/vdisk_${device#*:}/mgmt "del_device ${device%%:*}"
done
put handlers/vdisk_fileio/mgmt "del_device disk1"
names devices
names targets/iscsi
collect
