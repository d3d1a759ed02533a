{{- define "cilium.agent.mounts" -}}
- {name: host-proc-sys-net, mountPath: /host/proc/sys/net}
- {name: host-proc-sys-kernel, mountPath: /host/proc/sys/kernel}
- {name: bpf-maps, mountPath: {{ .Values.bpf.root }}, mountPropagation: HostToContainer}
- {name: cilium-run, mountPath: {{ .Values.daemon.runPath }}}
- {name: cilium-netns, mountPath: {{ .Values.daemon.runPath }}/netns, mountPropagation: HostToContainer}
- {name: etc-cni-netd, mountPath: {{ .Values.cni.hostConfDirMountPath }}}
- {name: clustermesh-secrets, mountPath: /var/lib/cilium/clustermesh, readOnly: true}
- {name: lib-modules, mountPath: /lib/modules, readOnly: true}
- {name: xtables-lock, mountPath: /run/xtables.lock}
{{- if include "cilium.envoyWanted" . }}
- {name: envoy-sockets, mountPath: {{ .Values.daemon.runPath }}/envoy/sockets, readOnly: false}
{{- end }}
{{- if include "cilium.hubbleTLSWanted" . }}
- {name: hubble-tls, mountPath: /var/lib/cilium/tls/hubble, readOnly: true}
{{- end }}
- {name: tmp, mountPath: /tmp}
{{- range .Values.extraHostPathMounts }}
- {name: {{ .name }}, mountPath: {{ .mountPath }}, readOnly: {{ .readOnly }}}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "cilium.agent.volumes" -}}
- {name: tmp, emptyDir: {}}
- {name: cilium-run, hostPath: {path: {{ .Values.daemon.runPath }}, type: DirectoryOrCreate}}
- {name: cilium-netns, hostPath: {path: /var/run/netns, type: DirectoryOrCreate}}
- {name: bpf-maps, hostPath: {path: {{ .Values.bpf.root }}, type: DirectoryOrCreate}}
- {name: hostproc, hostPath: {path: /proc, type: Directory}}
- {name: cilium-cgroup, hostPath: {path: {{ .Values.cgroup.hostRoot }}, type: DirectoryOrCreate}}
- {name: cni-path, hostPath: {path: {{ .Values.cni.binPath }}, type: DirectoryOrCreate}}
- {name: etc-cni-netd, hostPath: {path: {{ .Values.cni.confPath }}, type: DirectoryOrCreate}}
- {name: lib-modules, hostPath: {path: /lib/modules}}
- {name: xtables-lock, hostPath: {path: /run/xtables.lock, type: FileOrCreate}}
- {name: host-proc-sys-net, hostPath: {path: /proc/sys/net, type: Directory}}
- {name: host-proc-sys-kernel, hostPath: {path: /proc/sys/kernel, type: Directory}}
- name: clustermesh-secrets
  projected:
    defaultMode: 0400
    sources:
      - secret: {name: cilium-clustermesh, optional: true}
{{- if include "cilium.envoyWanted" . }}
- {name: envoy-sockets, hostPath: {path: {{ .Values.daemon.runPath }}/envoy/sockets, type: DirectoryOrCreate}}
{{- end }}
{{- if include "cilium.hubbleTLSWanted" . }}
- name: hubble-tls
  projected:
    defaultMode: 0400
    sources:
      - secret:
          name: hubble-server-certs
          optional: true
          items:
            - {key: tls.crt, path: server.crt}
            - {key: tls.key, path: server.key}
            - {key: ca.crt, path: client-ca.crt}
{{- end }}
{{- range .Values.extraHostPathMounts }}
- {name: {{ .name }}, hostPath: {path: {{ .hostPath }}}}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
