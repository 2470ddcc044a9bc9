{{/* Security of every pod. */}}
{{- define "tumorctl.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.security.runAsUser }}
runAsGroup: {{ .Values.security.runAsGroup }}
fsGroup: {{ .Values.security.fsGroup }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Security of every container. */}}
{{- define "tumorctl.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Environment of the containers that load ONNX Runtime, which reports its use unless told not to; for any image. */}}
{{- define "tumorctl.environment" -}}
- name: HOME
  value: /tmp
- name: ORT_DISABLE_TELEMETRY
  value: "1"
{{- end }}

{{/* Small containers that copy, check or ask. */}}
{{- define "tumorctl.smallResources" -}}
requests:
  cpu: 100m
  memory: 512Mi
limits:
  cpu: "1"
  memory: 512Mi
{{- end }}

{{/*
Init containers that fill /models from the chosen source and verify it. Arguments: dict root, name, engines: arguments
about engines for models.py (a YAML list, or empty).
*/}}
{{- define "tumorctl.modelInit" -}}
{{- $root := .root }}
{{- $models := $root.Values.models }}
{{- if and (ne .name "engines") (has $models.source (list "s3" "gcs")) }}
- name: fetch
  image: {{ include "tumorctl.image" (list $root $root.Values.images.fetch) }}
  imagePullPolicy: {{ $root.Values.images.fetch.pullPolicy }}
  args:
    - copy
    - "source:{{ (get $models $models.source).bucket }}/{{ (get $models $models.source).path }}"
    - /source
    - --config=/tmp/none
    - --retries=5
    - --timeout=60s
  env:
    - name: HOME
      value: /tmp
    {{- include (printf "tumorctl.fetchEnv.%s" $models.source) $root | nindent 4 }}
  resources:
    {{- include "tumorctl.smallResources" $root | nindent 4 }}
  securityContext:
    {{- include "tumorctl.containerSecurity" $root | nindent 4 }}
  volumeMounts:
    - name: source
      mountPath: /source
    - name: tmp
      mountPath: /tmp
    {{- if and (eq $models.source "gcs") $models.gcs.credentialsSecret }}
    - name: credentials
      mountPath: /credentials
      readOnly: true
    {{- end }}
{{- end }}
- name: {{ .name }}
  image: {{ include "tumorctl.image" (list $root $root.Values.images.server) }}
  imagePullPolicy: {{ $root.Values.images.server.pullPolicy }}
  command: [python3, -B, /scripts/models.py, prepare]
  args:
    - --source={{ include "tumorctl.sourceFolder" $root }}
    - --target=/models
    {{- with $models.sha256sumsDigest }}
    - --sha256sums-digest={{ . }}
    {{- end }}
    {{- with .engines }}
    {{- . | nindent 4 }}
    {{- end }}
  resources:
    {{- include "tumorctl.smallResources" $root | nindent 4 }}
  securityContext:
    {{- include "tumorctl.containerSecurity" $root | nindent 4 }}
  volumeMounts:
    - name: models
      mountPath: /models
    - name: scripts
      mountPath: /scripts
      readOnly: true
    {{- if ne $models.source "image" }}
    - name: source
      mountPath: /source
      readOnly: true
    {{- end }}
    {{- if .engines }}
    - name: engines
      mountPath: /engines
      readOnly: true
    {{- end }}
{{- end }}

{{/* Where the models are found inside the init container. */}}
{{- define "tumorctl.sourceFolder" -}}
{{- if eq .Values.models.source "image" -}}
/opt/tumorctl/model_repository
{{- else if has .Values.models.source (list "pvc" "oci") -}}
{{ printf "/source/%s" (get .Values.models .Values.models.source).path | trimSuffix "/" }}
{{- else -}}
/source
{{- end }}
{{- end }}

{{/* The remote "source" of rclone, from the environment: no credential is an argument. */}}
{{- define "tumorctl.fetchEnv.s3" -}}
{{- with .Values.models.s3 -}}
- name: RCLONE_CONFIG_SOURCE_TYPE
  value: s3
- name: RCLONE_CONFIG_SOURCE_PROVIDER
  value: {{ .provider }}
- name: RCLONE_CONFIG_SOURCE_ENV_AUTH
  value: "true"
{{- with .region }}
- name: RCLONE_CONFIG_SOURCE_REGION
  value: {{ . | quote }}
{{- end }}
{{- with .endpoint }}
- name: RCLONE_CONFIG_SOURCE_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- with .credentialsSecret }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: AWS_ACCESS_KEY_ID
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: AWS_SECRET_ACCESS_KEY
{{- end }}
{{- end }}
{{- end }}

{{- define "tumorctl.fetchEnv.gcs" -}}
- name: RCLONE_CONFIG_SOURCE_TYPE
  value: google cloud storage
- name: RCLONE_CONFIG_SOURCE_BUCKET_POLICY_ONLY
  value: "true"
{{- if .Values.models.gcs.credentialsSecret }}
- name: RCLONE_CONFIG_SOURCE_SERVICE_ACCOUNT_FILE
  value: /credentials/key.json
{{- else }}
- name: RCLONE_CONFIG_SOURCE_ENV_AUTH
  value: "true"
{{- end }}
{{- end }}

{{/* Volumes that modelInit mounts. */}}
{{- define "tumorctl.modelVolumes" -}}
{{- $models := .Values.models }}
- name: models
  emptyDir:
    sizeLimit: {{ $models.sizeMi }}Mi
- name: scripts
  configMap:
    name: {{ include "tumorctl.fullname" . }}-scripts
- name: tmp
  emptyDir:
    sizeLimit: {{ .Values.server.resources.tmpMi }}Mi
{{- if eq $models.source "pvc" }}
- name: source
  persistentVolumeClaim:
    claimName: {{ $models.pvc.claimName }}
    readOnly: true
{{- else if eq $models.source "oci" }}
- name: source
  image:
    reference: {{ $models.oci.reference }}
    pullPolicy: {{ $models.oci.pullPolicy }}
{{- else if has $models.source (list "s3" "gcs") }}
- name: source
  emptyDir:
    sizeLimit: {{ $models.sizeMi }}Mi
{{- if and (eq $models.source "gcs") $models.gcs.credentialsSecret }}
- name: credentials
  secret:
    secretName: {{ $models.gcs.credentialsSecret }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- end }}
