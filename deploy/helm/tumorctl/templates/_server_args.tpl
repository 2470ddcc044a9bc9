{{/*
Security of the served protocols, the one place where it is decided: TLS on gRPC, and the administrative calls behind a
key. The kubelet puts the key in place of $(TUMORCTL_ADMIN_KEY). Triton's HTTP endpoint has no TLS: unless service.http
opens it, it answers health checks alone.
*/}}
{{- define "tumorctl.securityArgs" -}}
{{- $admin := "shared-memory,model-repository,statistics,trace,logging" }}
- --grpc-restricted-protocol={{ $admin }}:admin-key=$(TUMORCTL_ADMIN_KEY)
{{- if .Values.service.http }}
- --http-restricted-api={{ $admin }}:admin-key=$(TUMORCTL_ADMIN_KEY)
{{- else }}
- --http-restricted-api=metadata,inference,model-config,{{ $admin }}:admin-key=$(TUMORCTL_ADMIN_KEY)
{{- end }}
{{- if ne .Values.tls.mode "disabled" }}
- --grpc-use-ssl=true
- --grpc-server-cert=/tls/tls.crt
- --grpc-server-key=/tls/tls.key
{{- end }}
{{- if eq .Values.tls.mode "mutual" }}
- --grpc-use-ssl-mutual=true
- --grpc-root-cert=/tls/ca.crt
{{- end }}
{{- end }}

{{/* OpenTelemetry traces to a collector, over OTLP/HTTP. */}}
{{- define "tumorctl.tracingArgs" -}}
{{- if .Values.tracing.enabled }}
- --trace-config=mode=opentelemetry
- --trace-config=level=TIMESTAMPS
- --trace-config=rate={{ .Values.tracing.oneIn }}
- --trace-config=opentelemetry,url={{ .Values.tracing.endpoint }}
- --trace-config=opentelemetry,resource=service.name={{ include "tumorctl.fullname" . }}
{{- end }}
{{- end }}

{{/* All arguments of tritonserver. Arguments: list ROOT CLASS. */}}
{{- define "tumorctl.serverArgs" -}}
{{- $root := first . }}
{{- $class := last . }}
{{- with $root.Values -}}
- --model-repository=/models
{{- if eq .runtime "onnxruntime" }}
- --model-config-name=onnxruntime
{{- end }}
- --model-control-mode=none
- --disable-auto-complete-config
- --strict-readiness=true
- --exit-on-error=true
- --exit-timeout-secs={{ .server.exitTimeoutSeconds }}
- --http-port=8000
- --grpc-port=8001
- --metrics-port=8002
- --allow-gpu-metrics={{ $class.gpu }}
- --grpc-max-connection-age={{ mul .server.maxConnectionAgeSeconds 1000 }}
- --grpc-max-connection-age-grace={{ mul .server.maxConnectionAgeGraceSeconds 1000 }}
- --log-verbose={{ .server.logVerbose }}
- --log-format=ISO8601
{{- end }}
{{ include "tumorctl.securityArgs" $root }}
{{- include "tumorctl.tracingArgs" $root }}
{{- with $root.Values.server.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end }}
