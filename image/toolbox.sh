# Runs once in the building of the guest's root file system, its folder as $1, after all packages
# are installed. Collects what every workspace finds at the end of its PATH: an image that a stack
# names may have neither sftp-server nor rsync nor tmux. Each program comes with its libraries and
# their loader, so that it runs whatever C library the image has. Nothing in it is setuid.
set -eu
root=$1
place=/usr/local/share/secondlock/workspace
rm -rf "$root$place/lib" "$root$place/terminfo"
mkdir -p "$root$place/lib"

# Runs the program of its own name.
cat >"$root$place/run" <<EOT
#!/bin/sh
name=\${0##*/}
exec $place/lib/ld-linux-x86-64.so.2 --inhibit-cache --library-path $place/lib \\
    --argv0 "\$name" "$place/lib/\$name" "\$@"
EOT
chmod 755 "$root$place/run"

for program in /usr/lib/openssh/sftp-server /usr/bin/scp /usr/bin/rsync /usr/bin/tmux; do
    # Only what is a file: the kernel gives the vdso.
    for file in "$program" $(chroot "$root" ldd "$program" | grep -o '/[^ ]*'); do
        cp --dereference "$root$file" "$root$place/lib/"
    done
    ln -sf run "$root$place/${program##*/}"
done

# An image may know no terminal at all.
cp -R "$root/usr/share/terminfo" "$root$place/terminfo"

# What a stock image may lack is tried here, where it can still be told to the one who builds it.
for program in rsync tmux; do
    chroot "$root" "$place/$program" -V >/dev/null
done
