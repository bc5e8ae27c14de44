# bash completion for naru; load it with: source <(naru completion bash)
_naru_words() {
    case "$1" in
        "") echo "attach build commit completion container context cp create diff events exec export history image images import info inspect kill load login logout logs network pause port ps pull push rename restart rm rmi run save search start stats stop system tag top unpause update version volume wait" ;;
        "completion") echo "bash fish zsh" ;;
        "container") echo "attach commit cp create diff exec export inspect kill list logs ls pause port prune ps remove rename restart rm run start stats stop top unpause update wait" ;;
        "context") echo "create export import inspect list ls remove rm show update use" ;;
        "image") echo "build history import inspect list load ls prune pull push remove rm save tag" ;;
        "network") echo "connect create disconnect inspect list ls ports prune remove rm" ;;
        "system") echo "df doctor events info prune" ;;
        "volume") echo "clone create export import inspect list ls prune remove rename rm schedule snapshot" ;;
    esac
}
_naru_flags() {
    case "$1" in
        "") echo "--config --context -c --debug -D --host -H --log-level -l --tls --tlscacert --tlscert --tlskey --tlsverify --version -v --help" ;;
        "attach") echo "--detach-keys --no-stdin --sig-proxy --help" ;;
        "build") echo "--help" ;;
        "commit") echo "--author -a --change -c --message -m --pause -p --help" ;;
        "cp") echo "--archive -a --follow-link -L --quiet -q --help" ;;
        "create") echo "--add-host --annotation --attach -a --blkio-weight --blkio-weight-device --cap-add --cap-drop --cgroup-parent --cgroupns --cidfile --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-shares -c --cpus --cpuset-cpus --cpuset-mems --device --device-cgroup-rule --device-read-bps --device-read-iops --device-write-bps --device-write-iops --dns --dns-option --dns-search --domainname --entrypoint --env -e --env-file --expose --gpus --group-add --health-cmd --health-interval --health-retries --health-start-interval --health-start-period --health-timeout --hostname -h --init --interactive -i --ip --ip6 --ipc --isolation --label -l --label-file --link --link-local-ip --log-driver --log-opt --mac-address --memory -m --memory-reservation --memory-swap --memory-swappiness --mount --name --network --network-alias --no-healthcheck --oom-kill-disable --oom-score-adj --pid --pids-limit --platform --privileged --publish -p --publish-all -P --publish-source --pull --quiet -q --read-only --restart --rm --runtime --security-opt --shm-size --stop-signal --stop-timeout --storage-opt --sysctl --tmpfs --tty -t --ulimit --user -u --userns --uts --volume -v --volume-driver --volumes-from --workdir -w --help" ;;
        "diff") echo "--help" ;;
        "events") echo "--filter -f --format --since --until --help" ;;
        "exec") echo "--detach -d --detach-keys --env -e --env-file --interactive -i --privileged --tty -t --user -u --workdir -w --help" ;;
        "export") echo "--output -o --help" ;;
        "history") echo "--format --human -H --no-trunc --quiet -q --help" ;;
        "images") echo "--all -a --digests --filter -f --format --no-trunc --quiet -q --help" ;;
        "import") echo "--change -c --message -m --platform --help" ;;
        "info") echo "--format -f --help" ;;
        "inspect") echo "--format -f --size -s --type --help" ;;
        "kill") echo "--signal -s --help" ;;
        "load") echo "--input -i --quiet -q --help" ;;
        "login") echo "--help" ;;
        "logout") echo "--help" ;;
        "logs") echo "--details --follow -f --since --tail -n --timestamps -t --until --help" ;;
        "pause") echo "--help" ;;
        "port") echo "--help" ;;
        "ps") echo "--all -a --filter -f --format --last -n --latest -l --no-trunc --quiet -q --size -s --help" ;;
        "pull") echo "--help" ;;
        "push") echo "--help" ;;
        "rename") echo "--help" ;;
        "restart") echo "--signal -s --timeout -t --help" ;;
        "rm") echo "--force -f --link -l --volumes -v --help" ;;
        "rmi") echo "--force -f --no-prune --help" ;;
        "run") echo "--add-host --annotation --attach -a --blkio-weight --blkio-weight-device --cap-add --cap-drop --cgroup-parent --cgroupns --cidfile --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-shares -c --cpus --cpuset-cpus --cpuset-mems --device --device-cgroup-rule --device-read-bps --device-read-iops --device-write-bps --device-write-iops --dns --dns-option --dns-search --domainname --entrypoint --env -e --env-file --expose --gpus --group-add --health-cmd --health-interval --health-retries --health-start-interval --health-start-period --health-timeout --hostname -h --init --interactive -i --ip --ip6 --ipc --isolation --label -l --label-file --link --link-local-ip --log-driver --log-opt --mac-address --memory -m --memory-reservation --memory-swap --memory-swappiness --mount --name --network --network-alias --no-healthcheck --oom-kill-disable --oom-score-adj --pid --pids-limit --platform --privileged --publish -p --publish-all -P --publish-source --pull --quiet -q --read-only --restart --rm --runtime --security-opt --shm-size --stop-signal --stop-timeout --storage-opt --sysctl --tmpfs --tty -t --ulimit --user -u --userns --uts --volume -v --volume-driver --volumes-from --workdir -w --detach -d --detach-keys --sig-proxy --help" ;;
        "save") echo "--output -o --help" ;;
        "search") echo "--help" ;;
        "start") echo "--attach -a --detach-keys --interactive -i --help" ;;
        "stats") echo "--all -a --format --no-stream --no-trunc --help" ;;
        "stop") echo "--signal -s --timeout -t --help" ;;
        "tag") echo "--help" ;;
        "top") echo "--help" ;;
        "unpause") echo "--help" ;;
        "update") echo "--blkio-weight --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-shares -c --cpus --cpuset-cpus --cpuset-mems --memory -m --memory-reservation --memory-swap --pids-limit --restart --help" ;;
        "version") echo "--format -f --help" ;;
        "wait") echo "--help" ;;
        "completion bash") echo "--help" ;;
        "completion fish") echo "--help" ;;
        "completion zsh") echo "--help" ;;
        "container attach") echo "--detach-keys --no-stdin --sig-proxy --help" ;;
        "container commit") echo "--author -a --change -c --message -m --pause -p --help" ;;
        "container cp") echo "--archive -a --follow-link -L --quiet -q --help" ;;
        "container create") echo "--add-host --annotation --attach -a --blkio-weight --blkio-weight-device --cap-add --cap-drop --cgroup-parent --cgroupns --cidfile --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-shares -c --cpus --cpuset-cpus --cpuset-mems --device --device-cgroup-rule --device-read-bps --device-read-iops --device-write-bps --device-write-iops --dns --dns-option --dns-search --domainname --entrypoint --env -e --env-file --expose --gpus --group-add --health-cmd --health-interval --health-retries --health-start-interval --health-start-period --health-timeout --hostname -h --init --interactive -i --ip --ip6 --ipc --isolation --label -l --label-file --link --link-local-ip --log-driver --log-opt --mac-address --memory -m --memory-reservation --memory-swap --memory-swappiness --mount --name --network --network-alias --no-healthcheck --oom-kill-disable --oom-score-adj --pid --pids-limit --platform --privileged --publish -p --publish-all -P --publish-source --pull --quiet -q --read-only --restart --rm --runtime --security-opt --shm-size --stop-signal --stop-timeout --storage-opt --sysctl --tmpfs --tty -t --ulimit --user -u --userns --uts --volume -v --volume-driver --volumes-from --workdir -w --help" ;;
        "container diff") echo "--help" ;;
        "container exec") echo "--detach -d --detach-keys --env -e --env-file --interactive -i --privileged --tty -t --user -u --workdir -w --help" ;;
        "container export") echo "--output -o --help" ;;
        "container inspect") echo "--format -f --size -s --help" ;;
        "container kill") echo "--signal -s --help" ;;
        "container list") echo "--all -a --filter -f --format --last -n --latest -l --no-trunc --quiet -q --size -s --help" ;;
        "container logs") echo "--details --follow -f --since --tail -n --timestamps -t --until --help" ;;
        "container ls") echo "--all -a --filter -f --format --last -n --latest -l --no-trunc --quiet -q --size -s --help" ;;
        "container pause") echo "--help" ;;
        "container port") echo "--help" ;;
        "container prune") echo "--filter --force -f --help" ;;
        "container ps") echo "--all -a --filter -f --format --last -n --latest -l --no-trunc --quiet -q --size -s --help" ;;
        "container remove") echo "--force -f --link -l --volumes -v --help" ;;
        "container rename") echo "--help" ;;
        "container restart") echo "--signal -s --timeout -t --help" ;;
        "container rm") echo "--force -f --link -l --volumes -v --help" ;;
        "container run") echo "--add-host --annotation --attach -a --blkio-weight --blkio-weight-device --cap-add --cap-drop --cgroup-parent --cgroupns --cidfile --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-shares -c --cpus --cpuset-cpus --cpuset-mems --device --device-cgroup-rule --device-read-bps --device-read-iops --device-write-bps --device-write-iops --dns --dns-option --dns-search --domainname --entrypoint --env -e --env-file --expose --gpus --group-add --health-cmd --health-interval --health-retries --health-start-interval --health-start-period --health-timeout --hostname -h --init --interactive -i --ip --ip6 --ipc --isolation --label -l --label-file --link --link-local-ip --log-driver --log-opt --mac-address --memory -m --memory-reservation --memory-swap --memory-swappiness --mount --name --network --network-alias --no-healthcheck --oom-kill-disable --oom-score-adj --pid --pids-limit --platform --privileged --publish -p --publish-all -P --publish-source --pull --quiet -q --read-only --restart --rm --runtime --security-opt --shm-size --stop-signal --stop-timeout --storage-opt --sysctl --tmpfs --tty -t --ulimit --user -u --userns --uts --volume -v --volume-driver --volumes-from --workdir -w --detach -d --detach-keys --sig-proxy --help" ;;
        "container start") echo "--attach -a --detach-keys --interactive -i --help" ;;
        "container stats") echo "--all -a --format --no-stream --no-trunc --help" ;;
        "container stop") echo "--signal -s --timeout -t --help" ;;
        "container top") echo "--help" ;;
        "container unpause") echo "--help" ;;
        "container update") echo "--blkio-weight --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-shares -c --cpus --cpuset-cpus --cpuset-mems --memory -m --memory-reservation --memory-swap --pids-limit --restart --help" ;;
        "container wait") echo "--help" ;;
        "context create") echo "--description --docker --from --help" ;;
        "context export") echo "--help" ;;
        "context import") echo "--help" ;;
        "context inspect") echo "--format -f --help" ;;
        "context list") echo "--format --quiet -q --help" ;;
        "context ls") echo "--format --quiet -q --help" ;;
        "context remove") echo "--force -f --help" ;;
        "context rm") echo "--force -f --help" ;;
        "context show") echo "--help" ;;
        "context update") echo "--description --docker --help" ;;
        "context use") echo "--help" ;;
        "image build") echo "--help" ;;
        "image history") echo "--format --human -H --no-trunc --quiet -q --help" ;;
        "image import") echo "--change -c --message -m --platform --help" ;;
        "image inspect") echo "--format -f --help" ;;
        "image list") echo "--all -a --digests --filter -f --format --no-trunc --quiet -q --help" ;;
        "image load") echo "--input -i --quiet -q --help" ;;
        "image ls") echo "--all -a --digests --filter -f --format --no-trunc --quiet -q --help" ;;
        "image prune") echo "--all -a --filter --force -f --help" ;;
        "image pull") echo "--help" ;;
        "image push") echo "--help" ;;
        "image remove") echo "--force -f --no-prune --help" ;;
        "image rm") echo "--force -f --no-prune --help" ;;
        "image save") echo "--output -o --help" ;;
        "image tag") echo "--help" ;;
        "network connect") echo "--alias --driver-opt --gw-priority --ip --ip6 --link --link-local-ip --help" ;;
        "network create") echo "--attachable --aux-address --config-from --config-only --driver -d --gateway --ingress --internal --ip-range --ipam-driver --ipam-opt --ipv4 --ipv6 --label --opt -o --scope --subnet --help" ;;
        "network disconnect") echo "--force -f --help" ;;
        "network inspect") echo "--format -f --verbose -v --help" ;;
        "network list") echo "--filter -f --format --no-trunc --quiet -q --help" ;;
        "network ls") echo "--filter -f --format --no-trunc --quiet -q --help" ;;
        "network ports") echo "--filter -f --format --no-trunc --quiet -q --help" ;;
        "network prune") echo "--filter --force -f --help" ;;
        "network remove") echo "--force -f --help" ;;
        "network rm") echo "--force -f --help" ;;
        "system df") echo "--format --verbose -v --help" ;;
        "system doctor") echo "--format -f --quiet -q --help" ;;
        "system events") echo "--filter -f --format --since --until --help" ;;
        "system info") echo "--format -f --help" ;;
        "system prune") echo "--all -a --filter --force -f --volumes --help" ;;
        "volume clone") echo "--pause --help" ;;
        "volume create") echo "--driver -d --label --opt -o --help" ;;
        "volume export") echo "--encrypt --gzip --output -o --passphrase-file --pause --zstd --help" ;;
        "volume import") echo "--decrypt --input -i --passphrase-file --replace --help" ;;
        "volume inspect") echo "--format -f --help" ;;
        "volume list") echo "--filter -f --format --quiet -q --help" ;;
        "volume ls") echo "--filter -f --format --quiet -q --help" ;;
        "volume prune") echo "--all -a --filter --force -f --help" ;;
        "volume remove") echo "--force -f --help" ;;
        "volume rename") echo "--help" ;;
        "volume rm") echo "--force -f --help" ;;
        "volume schedule") echo "--at --every --keep --pause --to --help" ;;
        "volume snapshot") echo "--pause --help" ;;
    esac
}
_naru_taking() {
    case "$1" in
        "attach") echo "--detach-keys" ;;
        "commit") echo "--author -a --change -c --message -m" ;;
        "create") echo "--add-host --annotation --attach -a --blkio-weight --blkio-weight-device --cap-add --cap-drop --cgroup-parent --cgroupns --cidfile --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-shares -c --cpus --cpuset-cpus --cpuset-mems --device --device-cgroup-rule --device-read-bps --device-read-iops --device-write-bps --device-write-iops --dns --dns-option --dns-search --domainname --entrypoint --env -e --env-file --expose --gpus --group-add --health-cmd --health-interval --health-retries --health-start-interval --health-start-period --health-timeout --hostname -h --ip --ip6 --ipc --isolation --label -l --label-file --link --link-local-ip --log-driver --log-opt --mac-address --memory -m --memory-reservation --memory-swap --memory-swappiness --mount --name --network --network-alias --oom-score-adj --pid --pids-limit --platform --publish -p --publish-source --pull --restart --runtime --security-opt --shm-size --stop-signal --stop-timeout --storage-opt --sysctl --tmpfs --ulimit --user -u --userns --uts --volume -v --volume-driver --volumes-from --workdir -w" ;;
        "events") echo "--filter -f --format --since --until" ;;
        "exec") echo "--detach-keys --env -e --env-file --user -u --workdir -w" ;;
        "export") echo "--output -o" ;;
        "history") echo "--format" ;;
        "images") echo "--filter -f --format" ;;
        "import") echo "--change -c --message -m --platform" ;;
        "info") echo "--format -f" ;;
        "inspect") echo "--format -f --type" ;;
        "kill") echo "--signal -s" ;;
        "load") echo "--input -i" ;;
        "logs") echo "--since --tail -n --until" ;;
        "ps") echo "--filter -f --format --last -n" ;;
        "restart") echo "--signal -s --timeout -t" ;;
        "run") echo "--add-host --annotation --attach -a --blkio-weight --blkio-weight-device --cap-add --cap-drop --cgroup-parent --cgroupns --cidfile --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-shares -c --cpus --cpuset-cpus --cpuset-mems --device --device-cgroup-rule --device-read-bps --device-read-iops --device-write-bps --device-write-iops --dns --dns-option --dns-search --domainname --entrypoint --env -e --env-file --expose --gpus --group-add --health-cmd --health-interval --health-retries --health-start-interval --health-start-period --health-timeout --hostname -h --ip --ip6 --ipc --isolation --label -l --label-file --link --link-local-ip --log-driver --log-opt --mac-address --memory -m --memory-reservation --memory-swap --memory-swappiness --mount --name --network --network-alias --oom-score-adj --pid --pids-limit --platform --publish -p --publish-source --pull --restart --runtime --security-opt --shm-size --stop-signal --stop-timeout --storage-opt --sysctl --tmpfs --ulimit --user -u --userns --uts --volume -v --volume-driver --volumes-from --workdir -w --detach-keys" ;;
        "save") echo "--output -o" ;;
        "start") echo "--detach-keys" ;;
        "stats") echo "--format" ;;
        "stop") echo "--signal -s --timeout -t" ;;
        "update") echo "--blkio-weight --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-shares -c --cpus --cpuset-cpus --cpuset-mems --memory -m --memory-reservation --memory-swap --pids-limit --restart" ;;
        "version") echo "--format -f" ;;
        "container attach") echo "--detach-keys" ;;
        "container commit") echo "--author -a --change -c --message -m" ;;
        "container create") echo "--add-host --annotation --attach -a --blkio-weight --blkio-weight-device --cap-add --cap-drop --cgroup-parent --cgroupns --cidfile --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-shares -c --cpus --cpuset-cpus --cpuset-mems --device --device-cgroup-rule --device-read-bps --device-read-iops --device-write-bps --device-write-iops --dns --dns-option --dns-search --domainname --entrypoint --env -e --env-file --expose --gpus --group-add --health-cmd --health-interval --health-retries --health-start-interval --health-start-period --health-timeout --hostname -h --ip --ip6 --ipc --isolation --label -l --label-file --link --link-local-ip --log-driver --log-opt --mac-address --memory -m --memory-reservation --memory-swap --memory-swappiness --mount --name --network --network-alias --oom-score-adj --pid --pids-limit --platform --publish -p --publish-source --pull --restart --runtime --security-opt --shm-size --stop-signal --stop-timeout --storage-opt --sysctl --tmpfs --ulimit --user -u --userns --uts --volume -v --volume-driver --volumes-from --workdir -w" ;;
        "container exec") echo "--detach-keys --env -e --env-file --user -u --workdir -w" ;;
        "container export") echo "--output -o" ;;
        "container inspect") echo "--format -f" ;;
        "container kill") echo "--signal -s" ;;
        "container list") echo "--filter -f --format --last -n" ;;
        "container logs") echo "--since --tail -n --until" ;;
        "container ls") echo "--filter -f --format --last -n" ;;
        "container prune") echo "--filter" ;;
        "container ps") echo "--filter -f --format --last -n" ;;
        "container restart") echo "--signal -s --timeout -t" ;;
        "container run") echo "--add-host --annotation --attach -a --blkio-weight --blkio-weight-device --cap-add --cap-drop --cgroup-parent --cgroupns --cidfile --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-shares -c --cpus --cpuset-cpus --cpuset-mems --device --device-cgroup-rule --device-read-bps --device-read-iops --device-write-bps --device-write-iops --dns --dns-option --dns-search --domainname --entrypoint --env -e --env-file --expose --gpus --group-add --health-cmd --health-interval --health-retries --health-start-interval --health-start-period --health-timeout --hostname -h --ip --ip6 --ipc --isolation --label -l --label-file --link --link-local-ip --log-driver --log-opt --mac-address --memory -m --memory-reservation --memory-swap --memory-swappiness --mount --name --network --network-alias --oom-score-adj --pid --pids-limit --platform --publish -p --publish-source --pull --restart --runtime --security-opt --shm-size --stop-signal --stop-timeout --storage-opt --sysctl --tmpfs --ulimit --user -u --userns --uts --volume -v --volume-driver --volumes-from --workdir -w --detach-keys" ;;
        "container start") echo "--detach-keys" ;;
        "container stats") echo "--format" ;;
        "container stop") echo "--signal -s --timeout -t" ;;
        "container update") echo "--blkio-weight --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-shares -c --cpus --cpuset-cpus --cpuset-mems --memory -m --memory-reservation --memory-swap --pids-limit --restart" ;;
        "context create") echo "--description --docker --from" ;;
        "context inspect") echo "--format -f" ;;
        "context list") echo "--format" ;;
        "context ls") echo "--format" ;;
        "context update") echo "--description --docker" ;;
        "image history") echo "--format" ;;
        "image import") echo "--change -c --message -m --platform" ;;
        "image inspect") echo "--format -f" ;;
        "image list") echo "--filter -f --format" ;;
        "image load") echo "--input -i" ;;
        "image ls") echo "--filter -f --format" ;;
        "image prune") echo "--filter" ;;
        "image save") echo "--output -o" ;;
        "network connect") echo "--alias --driver-opt --gw-priority --ip --ip6 --link --link-local-ip" ;;
        "network create") echo "--aux-address --config-from --driver -d --gateway --ip-range --ipam-driver --ipam-opt --label --opt -o --scope --subnet" ;;
        "network inspect") echo "--format -f" ;;
        "network list") echo "--filter -f --format" ;;
        "network ls") echo "--filter -f --format" ;;
        "network ports") echo "--filter -f --format" ;;
        "network prune") echo "--filter" ;;
        "system df") echo "--format" ;;
        "system doctor") echo "--format -f" ;;
        "system events") echo "--filter -f --format --since --until" ;;
        "system info") echo "--format -f" ;;
        "system prune") echo "--filter" ;;
        "volume create") echo "--driver -d --label --opt -o" ;;
        "volume export") echo "--output -o --passphrase-file" ;;
        "volume import") echo "--input -i --passphrase-file" ;;
        "volume inspect") echo "--format -f" ;;
        "volume list") echo "--filter -f --format" ;;
        "volume ls") echo "--filter -f --format" ;;
        "volume prune") echo "--filter" ;;
        "volume schedule") echo "--at --every --keep --to" ;;
    esac
}
_naru_values() {
    case "$1 $2" in
        "create --link") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "create --network") naru network ls --format '{{.Name}}' 2>/dev/null ;;
        "create --pull") echo "always missing never" ;;
        "create --restart") echo "always no on-failure unless-stopped" ;;
        "create --volumes-from") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "run --link") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "run --network") naru network ls --format '{{.Name}}' 2>/dev/null ;;
        "run --pull") echo "always missing never" ;;
        "run --restart") echo "always no on-failure unless-stopped" ;;
        "run --volumes-from") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "container create --link") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "container create --network") naru network ls --format '{{.Name}}' 2>/dev/null ;;
        "container create --pull") echo "always missing never" ;;
        "container create --restart") echo "always no on-failure unless-stopped" ;;
        "container create --volumes-from") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "container run --link") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "container run --network") naru network ls --format '{{.Name}}' 2>/dev/null ;;
        "container run --pull") echo "always missing never" ;;
        "container run --restart") echo "always no on-failure unless-stopped" ;;
        "container run --volumes-from") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "network connect --link") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "network create --config-from") naru network ls --format '{{.Name}}' 2>/dev/null ;;
        "network create --driver") echo "bridge ipvlan macvlan" ;;
        "network create -d") echo "bridge ipvlan macvlan" ;;
        "network create --scope") echo "global local swarm" ;;
        "network create --opt") echo "com.docker.network.bridge.enable_icc= com.docker.network.bridge.enable_ip_masquerade= com.docker.network.bridge.gateway_mode_ipv4= com.docker.network.bridge.gateway_mode_ipv6= com.docker.network.bridge.host_binding_ipv4= com.docker.network.bridge.name= com.docker.network.driver.mtu= ipvlan_mode= macvlan_mode= parent=" ;;
        "network list --filter") echo "dangling= driver= id= label= name= scope= type=" ;;
        "network ls --filter") echo "dangling= driver= id= label= name= scope= type=" ;;
        "network ports --filter") echo "container= network= port=" ;;
        "network prune --filter") echo "label= label!= until=" ;;
    esac
}
_naru_names() {
    case "$1" in
        "attach") naru ps --format '{{.Names}}' 2>/dev/null ;;
        "commit") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "cp") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "create") naru images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null ;;
        "diff") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "exec") naru ps --format '{{.Names}}' 2>/dev/null ;;
        "export") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "history") naru images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null ;;
        "inspect") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "kill") naru ps --format '{{.Names}}' 2>/dev/null ;;
        "logs") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "pause") naru ps --format '{{.Names}}' 2>/dev/null ;;
        "port") naru ps --format '{{.Names}}' 2>/dev/null ;;
        "push") naru images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null ;;
        "rename") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "restart") naru ps --format '{{.Names}}' 2>/dev/null ;;
        "rm") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "rmi") naru images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null ;;
        "run") naru images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null ;;
        "save") naru images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null ;;
        "start") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "stats") naru ps --format '{{.Names}}' 2>/dev/null ;;
        "stop") naru ps --format '{{.Names}}' 2>/dev/null ;;
        "tag") naru images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null ;;
        "top") naru ps --format '{{.Names}}' 2>/dev/null ;;
        "unpause") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "update") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "wait") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "container attach") naru ps --format '{{.Names}}' 2>/dev/null ;;
        "container commit") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "container cp") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "container create") naru images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null ;;
        "container diff") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "container exec") naru ps --format '{{.Names}}' 2>/dev/null ;;
        "container export") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "container inspect") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "container kill") naru ps --format '{{.Names}}' 2>/dev/null ;;
        "container logs") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "container pause") naru ps --format '{{.Names}}' 2>/dev/null ;;
        "container port") naru ps --format '{{.Names}}' 2>/dev/null ;;
        "container rename") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "container restart") naru ps --format '{{.Names}}' 2>/dev/null ;;
        "container rm") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "container run") naru images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null ;;
        "container start") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "container stats") naru ps --format '{{.Names}}' 2>/dev/null ;;
        "container stop") naru ps --format '{{.Names}}' 2>/dev/null ;;
        "container top") naru ps --format '{{.Names}}' 2>/dev/null ;;
        "container unpause") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "container update") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "container wait") naru ps -a --format '{{.Names}}' 2>/dev/null ;;
        "context export") naru context ls -q 2>/dev/null ;;
        "context inspect") naru context ls -q 2>/dev/null ;;
        "context remove") naru context ls -q 2>/dev/null ;;
        "context rm") naru context ls -q 2>/dev/null ;;
        "context update") naru context ls -q 2>/dev/null ;;
        "context use") naru context ls -q 2>/dev/null ;;
        "image history") naru images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null ;;
        "image inspect") naru images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null ;;
        "image rm") naru images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null ;;
        "image save") naru images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null ;;
        "image tag") naru images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null ;;
        "network connect") case "$2" in 0) naru network ls --format '{{.Name}}' 2>/dev/null ;; 1) naru ps -a --format '{{.Names}}' 2>/dev/null ;; esac ;;
        "network disconnect") case "$2" in 0) naru network ls --format '{{.Name}}' 2>/dev/null ;; 1) naru ps -a --format '{{.Names}}' 2>/dev/null ;; esac ;;
        "network inspect") naru network ls --format '{{.Name}}' 2>/dev/null ;;
        "network remove") naru network ls --format '{{.Name}}' 2>/dev/null ;;
        "network rm") naru network ls --format '{{.Name}}' 2>/dev/null ;;
        "volume export") naru volume ls -q 2>/dev/null ;;
        "volume inspect") naru volume ls -q 2>/dev/null ;;
        "volume remove") naru volume ls -q 2>/dev/null ;;
        "volume rm") naru volume ls -q 2>/dev/null ;;
    esac
}
_naru() {
    local typed=("${COMP_WORDS[@]:1:$COMP_CWORD}") where="" whole="" taking="" flag="" given=0 word
    local current="${COMP_WORDS[COMP_CWORD]}" last=$((COMP_CWORD - 1)) at
    for ((at = 0; at < last; at++)); do
        word="${typed[at]}"
        if [ -z "$whole" ]; then
            case "$word" in
                --config|--context|-c|--host|-H|--log-level|-l|--tlscacert|--tlscert|--tlskey) if [ -z "$where" ]; then at=$((at + 1)); fi ;;
                -*) ;;
                *)
                    if [ -z "$where" ]; then
                        where="$word"
                        case "$word" in completion|container|context|image|network|system|volume) ;; *) whole=1 ;; esac
                    else
                        where="$where $word"
                        whole=1
                    fi
                    if [ -n "$whole" ]; then taking=" $(_naru_taking "$where") "; fi
                    ;;
            esac
        elif [[ "$word" == -* && "$taking" == *" $word "* ]]; then
            at=$((at + 1))
            if [ "${typed[at]}" = "=" ] && [ "$at" -lt "$last" ]; then at=$((at + 1)); fi
            if [ "$at" -eq "$last" ]; then flag="$word"; fi
        elif [[ "$word" != -* ]]; then
            given=$((given + 1))
        fi
    done
    local IFS=$' \t\n'
    if [ "$current" = "=" ]; then current=""; fi
    if [ -n "$flag" ]; then
        COMPREPLY=($(compgen -W "$(_naru_values "$where" "$flag")" -- "$current"))
        if [[ "${#COMPREPLY[@]}" -eq 1 && "${COMPREPLY[0]}" == *= ]]; then
            compopt -o nospace 2>/dev/null
        fi
        if [ "${#COMPREPLY[@]}" -eq 0 ]; then COMPREPLY=($(compgen -f -- "$current")); fi
    elif [[ "$current" == -* ]]; then
        COMPREPLY=($(compgen -W "$(_naru_flags "$where")" -- "$current"))
    else
        word="$(_naru_words "$where") $(_naru_names "$where" "$given")"
        COMPREPLY=($(compgen -W "$word" -- "$current"))
        if [ "${#COMPREPLY[@]}" -eq 0 ]; then COMPREPLY=($(compgen -f -- "$current")); fi
    fi
    if [ -n "${BASH_VERSION-}" ] && declare -F __ltrim_colon_completions >/dev/null; then
        __ltrim_colon_completions "$current"
    fi
}
complete -F _naru naru
