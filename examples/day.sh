#!/bin/sh
# A newcomer's day: what a person wants of the server, task by task, with the number of commands that each takes.
#
#     examples/day.sh FOLDER
#
# Runs a server of its own in the new folder FOLDER, on the small models that ship, and leaves the pictures there. It
# stops at the first task that does not work. SPOON and PYTHON name other commands than `spoon` and `python3`.
set -eu

folder=${1:?usage: day.sh FOLDER}
spoon=${SPOON:-spoon}
python=${PYTHON:-python3}
mkdir "$folder"
cd "$folder"
models=$($python -m engine_worker.embedded scenes-sd)
models=${models%/*}
number=0 commands=0 all=0

task() { # WHAT IS WANTED: ends the task before, begins the next one
    report
    number=$((number + 1)) wanted=$1 commands=0
}

report() {
    if [ "$number" -gt 0 ]; then
        printf '%2d  %d  %s\n' "$number" "$commands" "$wanted"
        all=$((all + commands))
    fi
}

run() { # ARGUMENTS OF SPOON: one command, as a person would type it; what it prints is for `said`
    commands=$((commands + 1))
    $spoon "$@" > output.txt
}

check() { # TEST AND ARGUMENTS: what must be so now
    "$@" || { echo "day.sh: not so: $*" >&2; exit 1; }
}

ids() { # NAME: the text fields of that name in the JSON on stdin, a line each
    sed -n "s/.*\"$1\": \"\([^\"]*\)\".*/\1/p"
}

same() { # FILE FILE: the same picture
    cmp -s "$1" "$2"
}

differ() { # FILE FILE: two pictures, and not the same
    [ -s "$1" ] && [ -s "$2" ] && ! cmp -s "$1" "$2"
}

said() { # TEXT: the last command printed it
    grep -q "$1" output.txt
}

end() { # at the end, or when a task has failed
    code=$?
    [ "$code" = 0 ] || echo "day.sh: task $number failed: $wanted" >&2
    $spoon stop > /dev/null 2>&1 || true
}
trap end EXIT

: > spoon.toml # its data are beside it, not where those of the person are
export SPOON_CONFIG="$PWD/spoon.toml"
export SPOON_SERVER_PORT=0 SPOON_MODELS_FILE_ROOTS="$models" SPOON_IMAGES_MIN_FREE=100MB

task "start the server"
commands=1
$spoon serve > serve.log 2>&1 &
tries=0
until $spoon models list > output.txt 2>&1; do
    tries=$((tries + 1))
    check [ "$tries" -lt 240 ]
    sleep 0.5
done

task "add a checkpoint"
run models add "$models/scenes-sd.safetensors" --type checkpoint --name scenes --wait

task "draw a first picture"
run draw "a large red circle on a blue background" --seed 7 --out first.png
check [ -s first.png ]

task "the same again, and another one"
run draw "a large red circle on a blue background" --seed 7 --out again.png
run draw "a large red circle on a blue background" --seed 8 --out other.png
check same first.png again.png
check differ first.png other.png

task "four at once"
run draw "a small green square on a white background" --count 4 --out four.png
check differ four-1.png four-4.png

task "a wide one, in few steps, by another sampler"
run draw "a large yellow triangle on a black background" --width 192 --height 128 --steps 8 \
    --scheduler "DPM++ 2M Karras" --out wide.png
check [ -s wide.png ]

task "more weight on a word, and something to avoid"
run draw "a (large:1.3) red circle on a blue background" --negative-prompt "a square" --out weighted.png
check [ -s weighted.png ]

task "a JPEG whose name has the day and the seed"
run draw "a large white circle on a red background" --seed 11 --out "{date}-{seed}.jpg"
check [ -s "$(date -u +%F)-11.jpg" ]

task "add a LoRA and use it in the prompt"
run models add "$models/lora-striped-sd-kohya.safetensors" --type lora --name stripes --wait
run draw "a large red circle on a blue background <lora:stripes:0.9>" --seed 7 --out striped.png
check differ first.png striped.png

task "add a word (an embedding) and use it"
run models add "$models/embedding-dusk-sd.safetensors" --type embedding --name "<dusk>" --wait
run draw "a large red circle in <dusk> colors" --embedding "<dusk>" --seed 7 --out dusk.png
check differ first.png dusk.png

task "see which models fit"
engine=$($spoon engines list --json | ids engine_id)
run models list --for "$engine"
check said stripes

task "give the engine a name and other defaults"
run engines edit "$engine" --name shapes --steps 12

task "begin with a picture"
run draw "a large green circle on a blue background" --reference first.png --strength 0.6 --out painted.png
check differ first.png painted.png

task "follow the edges of a picture"
run models add "$models/controlnet-canny-sd" --type controlnet --name edges --wait
run draw "a large white circle on a black background" --pose first.png --type-pose canny --control-model edges \
    --out edges.png
check [ -s edges.png ]

task "cut out the shape"
run models add "$models/remover.onnx" --type background --name cutter --wait
run draw "a large red circle on a blue background" --seed 7 --remove-background cutter --out cut.png
check differ first.png cut.png

task "repaint what was cut out, and nothing else"
run draw "a large red circle on a green background" --reference cut.png --mask-mode alpha --strength 0.9 \
    --out repainted.png
check differ first.png repainted.png

task "find pictures by words, seed and day"
run images list --prompt "red circle" --seed 7 --since 1d
check said "red circle"

task "mark a favorite and find it again"
image=$($spoon images list --seed 8 --json | ids image_id | head -n 1)
run images edit "$image" --favorite --tag wall
run images list --tag wall
check said "$image"

task "make a picture again, to the last bit"
run draw --like "$image" --out like.png
check same other.png like.png

task "make it with another seed"
run draw --like "$image" --seed 9 --out varied.png
check differ other.png varied.png

task "make one again from its file alone"
run draw --like first.png --out from-file.png
check differ from-file.png other.png

task "queue some work, the last first"
run queue pause
first=$($spoon jobs submit "a large red circle on a white background" --json | ids job_id)
last=$($spoon jobs submit "a large blue circle on a white background" --json | ids job_id)
commands=$((commands + 2))
run jobs edit "$last" --priority 10
run queue resume
run jobs watch "$last" --out last.png

task "change one's mind"
run queue pause
gone=$($spoon jobs submit "nobody wants this" --json | ids job_id)
run jobs cancel "$gone"
run queue resume
commands=$((commands + 1))

task "and back again"
run jobs retry "$gone" --watch

task "see what runs"
run status
run engines list
check said shapes

task "get a picture once more"
run images download "$image" --out once-more.png
check same once-more.png other.png

task "see what old pictures would go, and delete one kind"
run images prune --prompt "green square" --dry-run
run images prune --prompt "green square" --yes
run images list --prompt "green square"

task "back up the database"
run db backup backup.sqlite3
check [ -s backup.sqlite3 ]

task "see whether all is well"
run doctor

task "delete the engine, but keep its pictures"
run engines stop shapes --wait
run engines delete shapes --images keep --yes
run images download "$image" --out kept.png
check same kept.png other.png

task "stop the server"
run stop
report
echo "$number tasks, $all commands"
