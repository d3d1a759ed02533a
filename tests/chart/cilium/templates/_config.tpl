{{- define "cilium.config.hubble" -}}
enable-hubble: {{ .Values.hubble.enabled | quote }}
{{- if .Values.hubble.enabled }}
hubble-socket-path: {{ .Values.hubble.socketPath | quote }}
hubble-listen-address: {{ .Values.hubble.listenAddress | quote }}
hubble-disable-tls: {{ not .Values.hubble.tls.enabled | quote }}
{{- if .Values.hubble.tls.enabled }}
hubble-tls-cert-file: "/var/lib/cilium/tls/hubble/server.crt"
hubble-tls-key-file: "/var/lib/cilium/tls/hubble/server.key"
hubble-tls-client-ca-files: "/var/lib/cilium/tls/hubble/client-ca.crt"
{{- end }}
{{- if include "cilium.since" (list . 18) }}
hubble-network-policy-correlation-enabled: {{ .Values.hubble.networkPolicyCorrelation.enabled | quote }}
{{- else }}
hubble-export-file-max-size-mb: {{ .Values.hubble.export.fileMaxSizeMb | quote }}
hubble-export-file-max-backups: {{ .Values.hubble.export.fileMaxBackups | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "cilium.config.bgp" -}}
{{- with .Values.bgpControlPlane -}}
enable-bgp-control-plane: "true"
bgp-secrets-namespace: {{ .secretsNamespace.name | quote }}
enable-bgp-control-plane-status-report: {{ .statusReport.enabled | quote }}
{{- with .routerIDAllocation }}
bgp-router-id-allocation-mode: {{ .mode | quote }}
bgp-router-id-allocation-ip-pool: {{ .ipPool | quote }}
{{- end }}
{{- with .legacyOriginAttribute }}
enable-bgp-legacy-origin-attribute: {{ .enabled | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "cilium.config.secrets" -}}
{{- if include "cilium.secretsOnlyFromNamespace" . -}}
policy-secrets-only-from-secrets-namespace: "true"
policy-secrets-namespace: {{ .Values.tls.secretsNamespace.name | quote }}
{{- if include "cilium.secretSyncWanted" . }}
enable-policy-secrets-sync: "true"
{{- end }}
{{- end }}
{{- end }}

{{- /* The keys with which upgradeCompatibility keeps the behavior of an older release. */}}
{{- define "cilium.config.compatibility" -}}
{{- if include "cilium.compatible" (list . "1.8") -}}
bpf-map-dynamic-size-ratio: "0.0025"
dnsproxy-enable-transparent-mode: "true"
operator-api-serve-addr: "127.0.0.1:9234"
{{- else -}}
bpf-ct-global-any-max: "262144"
bpf-ct-global-tcp-max: "524288"
dnsproxy-enable-transparent-mode: "false"
{{- end }}
{{- if and (include "cilium.since" (list . 20)) (include "cilium.compatible" (list . "1.20")) }}
envoy-xds-mode: "ads"
{{- end }}
{{- end }}

{{- define "cilium.config.layer7" -}}
{{- if or .Values.ingressController.enabled .Values.gatewayAPI.enabled -}}
enable-envoy-config: "true"
envoy-config-retry-interval: {{ .Values.envoyConfig.retryInterval | quote }}
{{- end }}
{{- with .Values.ingressController }}
{{- if .enabled }}
enable-ingress-controller: "true"
enable-ingress-proxy-protocol: {{ .enableProxyProtocol | quote }}
enable-ingress-secrets-sync: {{ .secretsNamespace.sync | quote }}
enforce-ingress-https: {{ .enforceHttps | quote }}
ingress-default-lb-mode: {{ .loadbalancerMode | quote }}
ingress-hostnetwork-enabled: {{ .hostNetwork.enabled | quote }}
ingress-hostnetwork-nodelabelselector: {{ include "cilium.selector" .hostNetwork.nodes.matchLabels | quote }}
ingress-hostnetwork-shared-listener-port: {{ .hostNetwork.sharedListenerPort | quote }}
ingress-lb-annotation-prefixes: {{ join " " .ingressLBAnnotationPrefixes | quote }}
ingress-secrets-namespace: {{ .secretsNamespace.name | quote }}
ingress-shared-lb-service-name: {{ .service.name | quote }}
{{- if include "cilium.since" (list $ 20) }}
ingress-default-xff-num-trusted-hops: {{ .xffNumTrustedHops | quote }}
ingress-hostnetwork-http-listener-port: {{ .hostNetwork.httpPort | quote }}
ingress-hostnetwork-https-listener-port: {{ .hostNetwork.httpsPort | quote }}
ingress-hostnetwork-tls-passthrough-listener-port: {{ .hostNetwork.tlsPassthroughPort | quote }}
ingress-use-remote-address: {{ .useRemoteAddress | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.gatewayAPI }}
{{- if .enabled }}
enable-gateway-api: "true"
enable-gateway-api-alpn: {{ .enableAlpn | quote }}
enable-gateway-api-app-protocol: {{ .enableAppProtocol | quote }}
enable-gateway-api-proxy-protocol: {{ .enableProxyProtocol | quote }}
enable-gateway-api-secrets-sync: {{ .secretsNamespace.sync | quote }}
gateway-api-hostnetwork-enabled: {{ .hostNetwork.enabled | quote }}
gateway-api-hostnetwork-nodelabelselector: {{ include "cilium.selector" .hostNetwork.nodes.matchLabels | quote }}
gateway-api-secrets-namespace: {{ .secretsNamespace.name | quote }}
gateway-api-service-externaltrafficpolicy: {{ .externalTrafficPolicy | quote }}
gateway-api-xff-num-trusted-hops: {{ .xffNumTrustedHops | quote }}
{{- if include "cilium.since" (list $ 20) }}
gateway-api-use-remote-address: {{ .useRemoteAddress | quote }}
bpf-lb-sock-hostns-only: "true"
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "cilium.selector" -}}
{{- $terms := list }}
{{- range $label, $value := . }}{{ $terms = append $terms (printf "%s=%s" $label $value) }}{{ end }}
{{- join "," $terms }}
{{- end }}
