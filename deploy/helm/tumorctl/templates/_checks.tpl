{{/* Contradictions that the schema cannot see. Rendered once, by the server's template; prints nothing. */}}
{{- define "tumorctl.checks" -}}
{{- $v := .Values }}
{{- $drain := add $v.server.preStopSeconds $v.server.exitTimeoutSeconds }}
{{- if ge (int $drain) (int $v.server.terminationGracePeriodSeconds) }}
{{- fail (printf "server.preStopSeconds + server.exitTimeoutSeconds (%d) must be less than server.terminationGracePeriodSeconds (%d): the kubelet would kill requests in flight" (int $drain) (int $v.server.terminationGracePeriodSeconds)) }}
{{- end }}
{{- if and (eq (toString $v.strategy.maxSurge) "0") (eq (toString $v.strategy.maxUnavailable) "0") }}
{{- fail "strategy.maxSurge and strategy.maxUnavailable cannot both be 0: nothing could be replaced" }}
{{- end }}
{{- $names := list }}
{{- range $v.gpuClasses }}
{{- if has .name $names }}{{ fail (printf "gpuClasses: the name %s is there twice" .name) }}{{ end }}
{{- $names = append $names .name }}
{{- end }}
{{- if and (ne $v.tls.mode "disabled") $v.service.http }}
{{- fail "service.http would open Triton's HTTP endpoint, which has no TLS, beside gRPC with TLS: leave it off" }}
{{- end }}
{{- if and $v.gateway.enabled (eq $v.tls.mode "mutual") }}
{{- fail "gateway.enabled with tls.mode mutual: a gateway that routes gRPC ends the client's TLS, so the server cannot see the client's certificate" }}
{{- end }}
{{- if and (eq $v.tls.mode "mutual") $v.tests.enabled (not $v.tests.clientTlsSecret) }}
{{- fail "tls.mode mutual: helm test needs a client's certificate in tests.clientTlsSecret, or tests.enabled false" }}
{{- end }}
{{- if and (eq $v.models.source "oci") (semverCompare "<1.31.0-0" .Capabilities.KubeVersion.Version) }}
{{- fail (printf "models.source oci mounts an image volume, which Kubernetes has from 1.31 on; this is %s" .Capabilities.KubeVersion.Version) }}
{{- end }}
{{- if and (ne $v.autoscaling.mode "none") (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" }}
{{- end }}
{{- end }}
