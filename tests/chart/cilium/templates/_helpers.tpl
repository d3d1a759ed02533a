{{- define "cilium.namespace" -}}
{{ .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{- /*
"yes" since a minor, else empty: (list $ 18). The minor is parsed from the text because AWS versions such as
1.18.3-0 are pre-releases in semver, which a range without a pre-release never matches.
*/}}
{{- define "cilium.since" -}}
{{- $root := index . 0 -}}
{{- if ge (int (index (splitList "." $root.Chart.Version) 1)) (index . 1) }}yes{{ end }}
{{- end }}

{{- /*
"yes" unless upgradeCompatibility is older than the given release: (list $ "1.17"). A pre-release is older than
every release here too, so "1.17.9-0" selects the oldest behavior, as in the Cilium chart.
*/}}
{{- define "cilium.compatible" -}}
{{- $root := index . 0 -}}
{{- $release := index . 1 -}}
{{- if semverCompare (printf ">=%s" $release) (default $release $root.Values.upgradeCompatibility) }}yes{{ end }}
{{- end }}

{{- define "cilium.partOf" -}}
app.kubernetes.io/part-of: cilium
{{- if include "cilium.since" (list . 20) }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The image of one component: (list .Values.image) or (list .Values.operator.image "-generic"). */}}
{{- define "cilium.image" -}}
{{- $image := index . 0 -}}
{{- if $image.override -}}
{{ $image.override }}
{{- else -}}
{{ $image.repository }}{{ range rest . }}{{ . }}{{ end }}:{{ $image.tag }}
{{- $digest := or $image.digest $image.genericDigest }}
{{- if and $image.useDigest $digest }}@{{ $digest }}{{ end }}
{{- end }}
{{- end }}

{{- define "cilium.nodeNameEnv" -}}
- name: K8S_NODE_NAME
  valueFrom:
    fieldRef: {apiVersion: v1, fieldPath: spec.nodeName}
{{- end }}

{{- define "cilium.identityEnv" -}}
{{ include "cilium.nodeNameEnv" . }}
- name: CILIUM_K8S_NAMESPACE
  valueFrom:
    fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}
{{- end }}

{{- /* Without kube-proxy, the API server's ClusterIP is unreachable until the agent runs, so the agent needs the address. */}}
{{- define "cilium.apiServerEnv" -}}
{{- if .Values.k8sServiceHost }}
- name: KUBERNETES_SERVICE_HOST
  value: {{ .Values.k8sServiceHost | quote }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ .Values.k8sServicePort | quote }}
{{- end }}
{{- end }}

{{- define "cilium.configChecksum" -}}
cilium.io/cilium-configmap-checksum: {{ include (print .Template.BasePath "/config.yaml") . | sha256sum }}
{{- end }}

{{- define "cilium.hostUsers" -}}
{{- if and (include "cilium.since" (list . 20)) (semverCompare ">=1.33-0" .Capabilities.KubeVersion.Version) }}
hostUsers: true
{{- end }}
{{- end }}

{{- /* Whether a component is enabled: "yes" or empty. A preflight release contains no object of the other components. */}}
{{- define "cilium.agentWanted" -}}
{{- if and .Values.agent (not .Values.preflight.enabled) }}yes{{ end }}
{{- end }}

{{- define "cilium.envoyWanted" -}}
{{- if kindIs "invalid" .Values.envoy.enabled }}{{ include "cilium.compatible" (list . "1.16") }}
{{- else if .Values.envoy.enabled }}yes{{ end }}
{{- end }}

{{- define "cilium.hubbleTLSWanted" -}}
{{- if and .Values.hubble.enabled .Values.hubble.tls.enabled }}yes{{ end }}
{{- end }}

{{- define "cilium.secretsOnlyFromNamespace" -}}
{{- if ne .Values.tls.readSecretsOnlyFromSecretsNamespace false }}yes{{ end }}
{{- end }}

{{- define "cilium.secretSyncWanted" -}}
{{- if kindIs "invalid" .Values.tls.secretSync.enabled }}{{ include "cilium.compatible" (list . "1.17") }}
{{- else if .Values.tls.secretSync.enabled }}yes{{ end }}
{{- end }}

{{- define "cilium.secretLabels" -}}
{{- $labels := merge (dict) (.Values.commonLabels | default dict) }}
{{- if include "cilium.since" (list . 19) }}
{{- $labels = set $labels "cilium.io/helm-template-non-idempotent" "true" }}
{{- end }}
{{- with $labels -}}
labels: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* A certificate and its key, or the existing ones: (list $ "hubble-server-certs" $leaf). */}}
{{- define "cilium.leaf" -}}
{{- $root := index . 0 -}}
{{- $leaf := index . 2 -}}
{{- $crt := b64enc $leaf.Cert -}}
{{- $key := b64enc $leaf.Key -}}
{{- if include "cilium.since" (list $root 18) -}}
{{- $known := lookup "v1" "Secret" (include "cilium.namespace" $root) (index . 1) -}}
{{- if and $known (get ($known.data | default dict) "tls.crt") (get ($known.data | default dict) "tls.key") -}}
{{- $crt = index $known.data "tls.crt" -}}
{{- $key = index $known.data "tls.key" -}}
{{- end -}}
{{- end -}}
tls.crt: {{ $crt }}
tls.key: {{ $key }}
{{- end }}
