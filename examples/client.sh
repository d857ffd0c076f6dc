#!/bin/sh
# One picture with curl: register a checkpoint, create an engine, submit a job, watch it, download the picture.
#
#     examples/client.sh http://127.0.0.1:7870 /models/checkpoint.safetensors [picture.png] [prompt]
#
# The checkpoint must lie below one of the server's models.file_roots. Needs curl and sed.
set -eu

url=${1:?usage: client.sh URL CHECKPOINT [PICTURE] [PROMPT]}
checkpoint=${2:?usage: client.sh URL CHECKPOINT [PICTURE] [PROMPT]}
picture=${3:-picture.png}
prompt=${4:-a large red circle on a blue background}

call() { # METHOD PATH [JSON]: the body of the answer; a refusal ends the script with its reason
    curl --silent --show-error --fail-with-body --request "$1" "$url$2" \
        --header 'Content-Type: application/json' ${3:+--data "$3"} || { echo >&2; exit 1; }
}

field() { # NAME: the text field of that name in the JSON on stdin; the members of an object have no order
    sed -n "s/.*[{,]\"$1\":\"\([^\"]*\)\".*/\1/p"
}

quoted() { # TEXT: as a JSON string
    printf '"%s"' "$(printf '%s' "$1" | sed 's/[\\"]/\\&/g')"
}

echo "registering $checkpoint" >&2
model=$(call POST '/v1/models?wait=120' "{
    \"name\": \"client.sh\", \"model_type\": \"checkpoint\", \"path\": $(quoted "file://$checkpoint")}")
[ "$(printf '%s' "$model" | field status)" = ready ] || { echo "no model: $model" >&2; exit 1; }

engine=$(call POST /v1/engines "{\"checkpoint\": \"$(printf '%s' "$model" | field model_id)\"}" | field engine_id)
job=$(call POST /v1/jobs "{\"engine_id\": \"$engine\", \"prompt\": $(quoted "$prompt")}")
job_id=$(printf '%s' "$job" | field job_id)

# The stream ends with the job. Each event has a line `event: state` (or progress, or image) and a line `data: {...}`.
echo "watching job $job_id" >&2
curl --silent --no-buffer "$url/v1/jobs/$job_id/events" | sed -n 's/^data: //p' >&2

job=$(call GET "/v1/jobs/$job_id")
[ "$(printf '%s' "$job" | field status)" = finished ] || { echo "no picture: $job" >&2; exit 1; }

curl --silent --show-error --fail --output "$picture" "$url/v1/images/$(printf '%s' "$job" | field image_id)/download"
echo "picture: $picture"
